/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The main of a fuzz target where no fuzzer is built in: gives it every file of its corpus,
 * tests/fuzz/corpus/NAME for fuzz-NAME, or the files that are named. Prints TAP.
 */
#include "replay.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUT_MAX = 1 << 20, SECONDS_MAX = 60 };

static int replay(const char *path)
{
    /* Of its size exactly, so that tools see a byte read beyond it. */
    unsigned char *room = malloc(INPUT_MAX), *bytes;
    FILE *in = fopen(path, "re");
    size_t length;

    if (!in || !room) {
        printf("not ok 1 - %s cannot be read\n", path);
        exit(1);
    }
    length = fread(room, 1, INPUT_MAX, in);
    fclose(in);
    bytes = length ? malloc(length) : NULL;
    if (bytes)
        memcpy(bytes, room, length);
    free(room);
    LLVMFuzzerTestOneInput(bytes, length);
    free(bytes);
    return 1;
}

static int replay_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char file[4096 + 256];
    int count = 0;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        count += replay(file);
    }
    if (dir)
        closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    const char *name = strstr(argv[0], "fuzz-");
    char path[4096];
    int count = 0;

    if (!name)
        return 1;
    while (strstr(name + 1, "fuzz-"))
        name = strstr(name + 1, "fuzz-");
    alarm(SECONDS_MAX);
    printf("1..1\n");
    for (int i = 1; i < argc; i++)
        count += replay(argv[i]);
    if (argc < 2) {
        snprintf(path, sizeof(path), "%s/%s", VST_CORPUS, name + strlen("fuzz-"));
        count = replay_directory(path);
    }
    printf("%s 1 - %s takes %d inputs\n", count ? "ok" : "not ok", name, count);
    return count ? 0 : 1;
}

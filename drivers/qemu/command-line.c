/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Words for QEMU. No value that comes from a definition needs QEMU's escaping of commas: files are
 * descriptors, names have no commas, and -kernel, -initrd, -append, -bios and -cpu take their word
 * as it is.
 */
#include "command-line.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "last-words.h"

/* What differs between machine types. The first row whose prefix fits. */
struct machine {
    const char *prefix;
    const char *display; /* a screen that screenshots can be taken of */
    const char *virtio;  /* the transport of virtio devices */
    int ide_units;       /* disks on each IDE bus */
    bool needs_fdc;      /* has no floppy controller of its own */
};

static const struct machine machines[] = {
    {"pc-q35", "std", "pci", 1, true}, {"q35", "std", "pci", 1, true},
    {"pc", "std", "pci", 2, false},    {"microvm", "none", "device", 1, false},
    {"", "none", "pci", 1, false},
};

/* A list of words that grows; the first failure stays. */
struct words {
    char **list;
    size_t count;
    bool failed;
};

static void add_copy(struct words *words, char *copy)
{
    char **grown = NULL;

    if (copy && !words->failed)
        grown = reallocarray(words->list, words->count + 2, sizeof(*grown));
    if (!grown) {
        free(copy);
        words->failed = true;
        return;
    }
    words->list = grown;
    words->list[words->count++] = copy;
    words->list[words->count] = NULL;
}

static void add(struct words *words, const char *word)
{
    add_copy(words, strdup(word));
}

static void add_option(struct words *words, const char *option, const char *value)
{
    if (!value)
        return;
    add(words, option);
    add(words, value);
}

__attribute__((format(printf, 3, 4))) static void
add_format(struct words *words, const char *option, const char *format, ...)
{
    va_list args;
    char *value;

    va_start(args, format);
    if (vasprintf(&value, format, args) < 0)
        value = NULL;
    va_end(args);
    add(words, option);
    add_copy(words, value);
}

static const struct machine *find_machine(const char *name)
{
    const struct machine *machine = machines;

    while (strncmp(name, machine->prefix, strlen(machine->prefix)) != 0)
        machine++;
    return machine;
}

static void add_machine(struct words *words, const struct vst_definition *def,
                        const struct machine *machine)
{
    add_format(words, "-name", "guest=%s", def->name);
    add_option(words, "-uuid", def->uuid);
    add_option(words, "-machine", def->machine);
    for (char **accel = def->accels; *accel; accel++)
        add_option(words, "-accel", *accel);
    add_option(words, "-cpu", def->cpu);
    add_format(words, "-m", "%juM", (uintmax_t)def->memory_mib);
    add_format(words, "-smp", "%ju", (uintmax_t)def->vcpus);
    add(words, "-nodefaults");
    add(words, "-no-user-config");
    add_option(words, "-display", "none");
    add_option(words, "-vga", machine->display);
    add_option(words, "-kernel", def->kernel);
    add_option(words, "-initrd", def->initrd);
    add_option(words, "-append", def->append);
    add_option(words, "-bios", def->firmware);
}

/* Both sockets listen, and with nobody connected the guest goes on: what it prints is in the log
 * alone. */
static void add_sockets(struct words *words, const struct vst_definition *def)
{
    add_format(words, "-chardev", "socket,id=monitor,fd=%d,server=on,wait=off",
               VST_QEMU_FD_MONITOR);
    add_option(words, "-mon", "chardev=monitor,mode=control");
    if (!def->console)
        return;
    if (def->console->log) {
        add_format(words, "-add-fd", "fd=%d,set=%d", VST_QEMU_FD_CONSOLE_LOG,
                   VST_QEMU_FD_CONSOLE_LOG);
        add_format(words, "-chardev",
                   "socket,id=console,fd=%d,server=on,wait=off,logfile=/dev/fdset/%d,logappend=on",
                   VST_QEMU_FD_CONSOLE, VST_QEMU_FD_CONSOLE_LOG);
    } else {
        add_format(words, "-chardev", "socket,id=console,fd=%d,server=on,wait=off",
                   VST_QEMU_FD_CONSOLE);
    }
    add_option(words, "-serial", "chardev:console");
}

/* What a read-only disk is on IDE is a CD: QEMU has no other there. `before`: the disks on the same
 * bus that came first. */
static void add_disk_device(struct words *words, const struct vst_disk *disk,
                            const struct machine *machine, int before)
{
    const char *name = disk->name;

    if (strcmp(disk->bus, "virtio") == 0)
        add_format(words, "-device", "virtio-blk-%s,id=%s,drive=%s", machine->virtio, name, name);
    else if (strcmp(disk->bus, "ide") == 0)
        add_format(words, "-device", "ide-%s,id=%s,drive=%s,bus=ide.%d,unit=%d",
                   disk->readonly ? "cd" : "hd", name, name, before / machine->ide_units,
                   before % machine->ide_units);
    else if (strcmp(disk->bus, "scsi") == 0)
        add_format(words, "-device", "scsi-hd,id=%s,drive=%s", name, name);
    else
        add_format(words, "-device", "floppy,id=%s,drive=%s", name, name);
}

/* How many of the first `most` disks are on this bus. */
static int count_on(const char *bus, const struct vst_definition *def, int most)
{
    int count = 0;

    for (int i = 0; i < most && def->disks && def->disks[i]; i++)
        count += strcmp(def->disks[i]->bus, bus) == 0;
    return count;
}

static void add_disks(struct words *words, const struct vst_definition *def,
                      const struct machine *machine)
{
    if (count_on("scsi", def, INT_MAX))
        add_format(words, "-device", "virtio-scsi-%s", machine->virtio);
    if (machine->needs_fdc && count_on("floppy", def, INT_MAX))
        add_option(words, "-device", "isa-fdc");
    for (int i = 0; def->disks && def->disks[i]; i++) {
        const struct vst_disk *disk = def->disks[i];
        int fd = VST_QEMU_FD_DISKS + i;

        add_format(words, "-add-fd", "fd=%d,set=%d", fd, fd);
        add_format(words, "-blockdev",
                   "driver=%s,node-name=%s,read-only=%s,file.driver=file,"
                   "file.filename=/dev/fdset/%d",
                   disk->format, disk->name, disk->readonly ? "on" : "off", fd);
        add_disk_device(words, disk, machine, count_on(disk->bus, def, i));
    }
}

char **vst_command_line(const struct vst_definition *def, const char *program, bool incoming,
                        struct vst_error *ret_err)
{
    const struct machine *machine = find_machine(def->machine);
    struct words words = {0};

    add(&words, program);
    add_machine(&words, def, machine);
    add_sockets(&words, def);
    add_disks(&words, def, machine);
    add_option(&words, "-sandbox",
               "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    /* For whoever wonders later why it has ended: see last-words.h. */
    add_option(&words, "-trace", "enable=" VST_SHUTDOWN_TRACE);
    add(&words, "-S");
    add_option(&words, "-incoming", incoming ? "defer" : NULL);
    for (char **arg = def->args; arg && *arg; arg++)
        add(&words, *arg);
    if (!words.failed)
        return words.list;
    vst_command_line_free(&words.list);
    vst_error_no_memory(ret_err);
    return NULL;
}

void vst_command_line_free(char ***words)
{
    for (char **word = *words; word && *word; word++)
        free(*word);
    free(*words);
    *words = NULL;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Definitions as command lines of QEMU, word by word, and the files that go with them. That QEMU
 * takes these words is shown in process-given.c.
 */
#include "test.h"

#include "drivers/qemu/command-line.h"
#include "drivers/qemu/files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "12345678-9abc-4def-8123-456789abcdef"
#define HEAD "{\"name\":\"g1\",\"uuid\":\"" UUID "\",\"memory-mib\":64,\"vcpus\":2,"
#define TAIL                                                                            \
    "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny " \
    "-trace enable=qemu_system_shutdown_request -S"
#define MONITOR \
    "-chardev socket,id=monitor,fd=3,server=on,wait=off -mon chardev=monitor,mode=control"

static struct vst_definition *parse(const char *text)
{
    struct vst_error err = {0};
    struct vst_definition *def = vst_definition_parse(text, strlen(text), &err);

    if (!def)
        print_error("%s\n", err.text);
    assert_non_null(def);
    return def;
}

/* The words with a space between them. */
static void expect(const char *definition, bool incoming, const char *line)
{
    struct vst_definition *def = parse(definition);
    char **words = vst_command_line(def, "qemu", incoming, NULL);
    char text[4096] = "";

    assert_non_null(words);
    for (char **word = words; *word; word++) {
        size_t used = strlen(text);

        snprintf(text + used, sizeof(text) - used, "%s%s", used ? " " : "", *word);
    }
    assert_string_equal(text, line);
    vst_command_line_free(&words);
    assert_null(words);
    vst_definition_free(&def);
}

static bool has(const char *definition, const char *phrase)
{
    struct vst_definition *def = parse(definition);
    char **words = vst_command_line(def, "qemu", false, NULL);
    bool found = false;

    for (char **word = words; word[0] && word[1] && !found; word++) {
        char both[1024];

        snprintf(both, sizeof(both), "%s %s", word[0], word[1]);
        found = strcmp(both, phrase) == 0;
    }
    vst_command_line_free(&words);
    vst_definition_free(&def);
    return found;
}

static void the_least_definition_gives_the_least_words(void **state)
{
    (void)state;
    expect(HEAD "\"machine\":\"none\",\"accel\":\"tcg\"}", false,
           "qemu -name guest=g1 -uuid " UUID " -machine none -accel tcg -m 64M -smp 2 -nodefaults "
           "-no-user-config -display none -vga none " MONITOR " " TAIL);
}

static void every_member_gives_its_words(void **state)
{
    (void)state;
    expect(HEAD "\"machine\":\"pc\",\"accel\":[\"kvm\",\"tcg\"],\"cpu\":\"max,-x2apic\","
                "\"firmware\":\"/f,1\",\"kernel\":\"/k\",\"initrd\":\"/i\",\"append\":\"a b,c\","
                "\"disks\":[{\"name\":\"root\",\"file\":\"/d,1\",\"format\":\"qcow2\"}],"
                "\"console\":{\"log\":\"/l,1\"},\"args\":[\"-vga\",\"none\"]}",
           true,
           "qemu -name guest=g1 -uuid " UUID " -machine pc -accel kvm -accel tcg -cpu max,-x2apic "
           "-m 64M -smp 2 -nodefaults -no-user-config -display none -vga std -kernel /k -initrd /i "
           "-append a b,c -bios /f,1 " MONITOR " -add-fd fd=5,set=5 "
           "-chardev socket,id=console,fd=4,server=on,wait=off,logfile=/dev/fdset/5,logappend=on "
           "-serial chardev:console -add-fd fd=6,set=6 "
           "-blockdev driver=qcow2,node-name=root,read-only=off,file.driver=file,"
           "file.filename=/dev/fdset/6 -device virtio-blk-pci,id=root,drive=root " TAIL
           " -incoming defer -vga none");
}

static void a_console_without_a_log_has_no_fdset(void **state)
{
    const char *definition = HEAD "\"machine\":\"pc\",\"accel\":\"tcg\",\"console\":{}}";

    (void)state;
    assert_true(has(definition, "-chardev socket,id=console,fd=4,server=on,wait=off"));
    assert_true(has(definition, "-serial chardev:console"));
    assert_false(has(definition, "-add-fd fd=5,set=5"));
}

static void each_bus_has_its_device(void **state)
{
    static const struct {
        const char *machine, *bus, *readonly, *phrase;
    } rows[] = {
        {"pc", "virtio", "false", "-device virtio-blk-pci,id=d,drive=d"},
        {"microvm", "virtio", "false", "-device virtio-blk-device,id=d,drive=d"},
        {"pc-q35-7.2", "ide", "false", "-device ide-hd,id=d,drive=d,bus=ide.0,unit=0"},
        {"pc", "ide", "true", "-device ide-cd,id=d,drive=d,bus=ide.0,unit=0"},
        {"pc", "scsi", "true", "-device scsi-hd,id=d,drive=d"},
        {"pc", "scsi", "false", "-device virtio-scsi-pci"},
        {"microvm", "scsi", "false", "-device virtio-scsi-device"},
        {"pc", "floppy", "true", "-device floppy,id=d,drive=d"},
        {"q35", "floppy", "false", "-device isa-fdc"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];

        snprintf(text, sizeof(text),
                 HEAD "\"machine\":\"%s\",\"accel\":\"tcg\",\"disks\":[{\"name\":\"d\","
                      "\"file\":\"/d\",\"format\":\"raw\",\"bus\":\"%s\",\"readonly\":%s}]}",
                 rows[i].machine, rows[i].bus, rows[i].readonly);
        if (!has(text, rows[i].phrase))
            fail_msg("%s on %s lacks %s", rows[i].bus, rows[i].machine, rows[i].phrase);
    }
}

static void ide_disks_spread_over_the_buses_of_the_machine(void **state)
{
#define DISK(name) "{\"name\":\"" name "\",\"file\":\"/d\",\"format\":\"raw\",\"bus\":\"ide\"}"
#define DISKS "\"accel\":\"tcg\",\"disks\":[" DISK("a") "," DISK("b") "," DISK("c") "]}"
    (void)state;
    assert_true(
        has(HEAD "\"machine\":\"pc\"," DISKS, "-device ide-hd,id=b,drive=b,bus=ide.0,unit=1"));
    assert_true(
        has(HEAD "\"machine\":\"pc\"," DISKS, "-device ide-hd,id=c,drive=c,bus=ide.1,unit=0"));
    assert_true(
        has(HEAD "\"machine\":\"q35\"," DISKS, "-device ide-hd,id=c,drive=c,bus=ide.2,unit=0"));
}

static struct vst_definition *with_disk(const char *file, const char *readonly, const char *log)
{
    char text[1024];

    snprintf(text, sizeof(text),
             HEAD "\"machine\":\"pc\",\"accel\":\"tcg\",\"disks\":[{\"name\":\"d\",\"file\":\"%s\","
                  "\"format\":\"raw\",\"readonly\":%s}],\"console\":{\"log\":\"%s\"}}",
             file, readonly, log);
    return parse(text);
}

static void files_are_open_in_the_mode_that_qemu_asks_for(void **state)
{
    char disk[] = "/tmp/vst-disk-XXXXXX", log[] = "/tmp/vst-log-XXXXXX";
    struct vst_definition *def;
    struct vst_files *files;

    (void)state;
    close(mkstemp(disk));
    close(mkstemp(log));
    def = with_disk(disk, "true", log);
    files = vst_files_open(def, NULL);
    assert_non_null(files);
    assert_int_equal(files->count, 4);
    assert_int_equal(files->fds[0], -1);
    assert_int_equal(files->fds[1], -1);
    assert_int_equal(fcntl(files->fds[2], F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK),
                     O_WRONLY | O_APPEND);
    assert_int_equal(fcntl(files->fds[3], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
    assert_int_equal(fcntl(files->fds[3], F_GETFD), FD_CLOEXEC);
    vst_files_free(&files);
    assert_null(files);
    vst_definition_free(&def);
    unlink(disk);
    unlink(log);
}

static void what_cannot_be_a_disk_is_an_error_that_names_it(void **state)
{
    struct vst_definition *missing = with_disk("/nonexistent/disk", "false", "/dev/null");
    struct vst_error err = {0}, other = {0};
    struct vst_definition *odd;
    char dir[] = "/tmp/vst-fifo-XXXXXX", fifo[64];

    (void)state;
    free(missing->console->log);
    missing->console->log = NULL;
    assert_null(vst_files_open(missing, &err));
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    assert_string_equal(err.text, "d: /nonexistent/disk: No such file or directory");
    vst_definition_free(&missing);

    assert_non_null(mkdtemp(dir));
    snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    odd = with_disk(fifo, "true", fifo);
    free(odd->console->log);
    odd->console->log = NULL;
    assert_null(vst_files_open(odd, &other));
    assert_non_null(strstr(other.text, "not a file or block device"));
    vst_definition_free(&odd);
    unlink(fifo);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(the_least_definition_gives_the_least_words),
        VST_TEST(every_member_gives_its_words),
        VST_TEST(a_console_without_a_log_has_no_fdset),
        VST_TEST(each_bus_has_its_device),
        VST_TEST(ide_disks_spread_over_the_buses_of_the_machine),
        VST_TEST(files_are_open_in_the_mode_that_qemu_asks_for),
        VST_TEST(what_cannot_be_a_disk_is_an_error_that_names_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

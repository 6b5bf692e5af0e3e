/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a destination says to a guest that is offered, before any memory moves: everything that
 * stands in its way, at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/migration.h"
#include "drivers/qemu/new-disk.h"
#include "offered.h"

static const char all_wrong[] =
    ", \"memory-mib\": 16777216, \"kernel\": \"/nowhere/kernel\", \"disks\": [{\"name\": \"d\", "
    "\"file\": \"/nowhere/disk\", \"format\": \"raw\"}], \"args\": [\"-device\", "
    "\"warp-drive,id=w\", \"-bios\", \"no-such.bin\"]";

static void assert_all_wrong_was_said(void)
{
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    offered_said("needs 16777216 MiB of memory");
    offered_said("/nowhere/kernel");
    offered_said("/nowhere/disk");
    offered_said("firmware: no-such.bin");
    offered_said("no machine type pc-i440fx-99.0");
    offered_said("no device warp-drive");
}

static void everything_that_stands_in_the_way_is_told_at_once(void **state)
{
    (void)state;
    for (int check = 1; check >= 0; check--) {
        offered_say(VST_HANDOVER_PREPARE, check, offered_make_offer("pc-i440fx-99.0", all_wrong));
        assert_all_wrong_was_said();
        offered_nothing_began();
    }
}

/* Whether they are there, who may not name them does not hear; all else he does. */
static void files_that_may_not_be_named_are_not_looked_at(void **state)
{
#define BARRED "\"/nowhere/barred\""
#define ALLOWED "\"/nowhere/allowed\""
    static const char *const members[] = {
        "\"firmware\": " BARRED,
        "\"kernel\": " BARRED ", \"initrd\": " ALLOWED,
        "\"kernel\": " ALLOWED ", \"initrd\": " BARRED,
        "\"console\": {\"log\": " BARRED "}",
        "\"disks\": [{\"name\": \"a\", \"file\": " BARRED ", \"format\": \"raw\"}, "
        "{\"name\": \"b\", \"file\": " ALLOWED ", \"format\": \"raw\"}]",
    };
    static const struct vst_objection list[] = {{(char *)"not that one", (char *)"/nowhere/barred"},
                                                {NULL, NULL}};
    char more[250];

    (void)state;
    for (size_t i = 0; i < 2 * sizeof(members) / sizeof(*members); i++) {
        const char *member = members[i / 2];
        bool barred = i % 2;

        objections = barred ? list : NULL;
        snprintf(more, sizeof(more), ", \"memory-mib\": 16777216, %s", member);
        offered_say(VST_HANDOVER_PREPARE, true, offered_make_offer("none", more));
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        offered_said("needs 16777216 MiB of memory");
        assert_int_equal(strstr(answer.text, "/nowhere/barred") != NULL, !barred);
        assert_int_equal(strstr(answer.text, "not that one") != NULL, barred);
        assert_int_equal(strstr(answer.text, "/nowhere/allowed") != NULL,
                         strstr(member, ALLOWED) != NULL);
    }
    offered_nothing_began();
}

/* ---- files ---- */

static void make_image(const char *path, const char *format, off_t size)
{
    struct vst_disk disk = {(char *)"d", (char *)path, (char *)format, NULL, false};
    struct vst_new_disk made;
    struct vst_error err = {0};

    unlink(path);
    if (vst_new_disk_make(&disk, (uint64_t)size, &made, &err) < 0)
        fail_msg("%s", err.text);
}

static void expect_firmware(const char *member, bool found, bool check)
{
    char more[400];

    snprintf(more, sizeof(more), ", \"memory-mib\": 1, %s", member);
    offered_say(VST_HANDOVER_PREPARE, check, offered_make_offer("none", more));
    if (found && answer.event != VST_HANDOVER_STARTED)
        fail_msg("%s: %s", member, answer.text);
    if (!found)
        offered_said(": is in no directory where QEMU of this host looks for it");
}

/* The first is there wherever a QEMU for PCs is. */
static void firmware_by_name_is_looked_for_where_qemu_does(void **state)
{
    char args[300], path[120];

    (void)state;
    expect_firmware("\"firmware\": \"kvmvapic.bin\"", true, true);
    expect_firmware("\"args\": [\"-bios\", \"kvmvapic.bin\"]", true, true);
    expect_firmware("\"args\": [\"-bios\", \"no-such.bin\"]", false, true);
    offered_said("firmware: no-such.bin: ");
    expect_firmware("\"args\": [\"-bios\", \"/nowhere/it/is\", \"-bios\", \"no-such.bin\"]", false,
                    true);
    snprintf(args, sizeof(args), "\"firmware\": \"mine.bin\", \"args\": [\"-L\", \"%s\"]",
             offered_host.dir);
    expect_firmware(args, false, true);
    snprintf(path, sizeof(path), "%s/mine.bin", offered_host.dir);
    make_image(path, "raw", 4096);
    expect_firmware(args, true, true);
    expect_firmware("\"firmware\": \"no-such.bin\", \"kernel\": \"/nowhere/kernel\"", false, false);
    offered_said("/nowhere/kernel");
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    assert_int_equal(vst_host_entries(&offered_host, "root"), 1); /* the journal */
}

/* A QEMU that does not say where it looks: it ends, or, if there is a file `hang`, does not even.
 */
static void put_mute_in_path(const struct vst_host *made)
{
    char path[300], file[100];
    FILE *script;

    snprintf(file, sizeof(file), "%s/qemu-system-x86_64", made->dir);
    script = fopen(file, "we");
    assert_non_null(script);
    fprintf(script,
            "#!/bin/sh\nPATH='%s'\nif [ \"$1\" = -L ]; then\n[ -e %s/hang ] && exec sleep 300\n"
            "exit\nfi\nexec qemu-system-x86_64 \"$@\"\n",
            getenv("PATH"), made->dir);
    assert_int_equal(fchmod(fileno(script), 0700), 0);
    assert_int_equal(fclose(script), 0);
    snprintf(path, sizeof(path), "%s:%s", made->dir, getenv("PATH"));
    setenv("PATH", path, 1);
}

static int begin_mute(void **state)
{
    char *before = strdup(getenv("PATH"));

    (void)state;
    offered_begin_with(put_mute_in_path);
    setenv("PATH", before, 1); /* it is looked for once */
    free(before);
    return 0;
}

static void what_is_not_known_of_firmware_is_no_reason(void **state)
{
    (void)state;
    expect_firmware("\"firmware\": \"no-such.bin\"", true, true);
}

static bool asking;

static void note_asking(void *opaque, const char *machine, const char *to)
{
    (void)opaque;
    asking |= strcmp(machine, "check") == 0 && strcmp(to, "CHECK_ASKING") == 0;
}

/* The end of the test closes the connection. */
static void check_that_waits_for_a_qemu_that_hangs_can_be_called_off(void **state)
{
    char path[120], *offer;
    struct vst_migrate_message message = {.token = OFFERED_TOKEN,
                                          .host = OFFERED_SOURCE,
                                          .event = VST_HANDOVER_PREPARE,
                                          .check = true};
    struct vst_answer_cb cb = {offered_have_answer, NULL, NULL};
    struct vst_op *op;

    (void)state;
    snprintf(path, sizeof(path), "%s/hang", offered_host.dir);
    make_image(path, "raw", 512);
    offer = offered_make_offer("none", ", \"memory-mib\": 1, \"firmware\": \"no-such.bin\"");
    message.offer = offer;
    asking = false;
    offered_host.edge = note_asking;
    op = vst_conn_migrate_message(offered_host.conn, &message, &cb);
    free(offer);
    while (!asking)
        event_base_loop(offered_host.base, EVLOOP_ONCE);
    offered_host.edge = NULL;
    vst_op_cancel(op);
    vst_op_wait(op, NULL);
    assert_int_equal(answer.code, VST_ERR_CANCELLED);
}

static void offer_disk(const char *path, const char *format, bool check)
{
    char more[250];

    snprintf(more, sizeof(more),
             ", \"memory-mib\": 1, \"disks\": [{\"name\": \"d\", \"file\": \"%s\", \"format\": "
             "\"%s\"}]",
             path, format);
    offered_say(VST_HANDOVER_PREPARE, check, offered_make_offer("none", more));
}

enum { DISK_SIZE = 1 << 20, SECTOR = 512 };

static void disk_of_another_size_is_told(void **state)
{
    static const struct {
        const char *format;
        const char *is; /* the format of what is there */
        off_t size;
        const char *said; /* "": nothing stands in the way */
    } rows[] = {
        {"raw", "raw", DISK_SIZE, ""},
        {"raw", "raw", DISK_SIZE - SECTOR, "has 1048064 bytes here, and 1048576 at the source"},
        {"raw", "raw", DISK_SIZE + SECTOR, "has 1049088 bytes here, and 1048576 at the source"},
        {"qcow2", "qcow2", DISK_SIZE, ""},
        {"qcow2", "qcow2", DISK_SIZE / 2, "has 524288 bytes here, and 1048576 at the source"},
        {"qcow2", "raw", DISK_SIZE, "is no qcow2 image"},
        {"qcow2", "raw", SECTOR, "is no qcow2 image"},
    };
    struct vst_disk_size size = {(char *)"d", DISK_SIZE, 0}, *list[] = {&size, NULL};
    char path[120];

    (void)state;
    sizes = list;
    snprintf(path, sizeof(path), "%s/disk", offered_host.dir);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        make_image(path, rows[i].is, rows[i].size);
        offer_disk(path, rows[i].format, true);
        offered_said(rows[i].said);
        assert_int_equal(answer.event, *rows[i].said ? VST_HANDOVER_REFUSED : VST_HANDOVER_STARTED);
        offered_nothing_began();
    }
    offer_disk(path, "qcow2", false);
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    offered_said("is no qcow2 image");
    offered_nothing_began();
}

/* A disk with holes needs what it has, and not what it could have. */
static void copy_that_finds_no_room_is_told(void **state)
{
    struct vst_disk_size size = {(char *)"d", INT64_MAX, 0}, *list[] = {&size, NULL};
    char path[120];

    (void)state;
    sizes = list;
    copies = true;
    snprintf(path, sizeof(path), "%s/new", offered_host.dir);
    size.allocated = 4096;
    offer_disk(path, "raw", true);
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    size.allocated = 0; /* it is not known */
    offer_disk(path, "raw", true);
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    size =
        (struct vst_disk_size){(char *)"d", 4096, (uint64_t)1 << 60}; /* by a file system's whim */
    offer_disk(path, "raw", true);
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    size.size = INT64_MAX;
    for (int check = 1; check >= 0; check--) {
        size.allocated = (uint64_t)1 << 60;
        offer_disk(path, "raw", check);
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        offered_said("/new: a copy needs 1152921504606846976 bytes, and ");
        offered_said(" are free for it");
        offered_nothing_began();
    }
}

/* Each alone would find its room. */
static void copies_that_find_no_room_together_are_told(void **state)
{
    struct vst_disk_size size = {(char *)"d", INT64_MAX, 0}, other = {(char *)"e", INT64_MAX, 0};
    struct vst_disk_size *list[] = {&size, &other, NULL};
    struct statvfs fs;
    char more[400];

    (void)state;
    sizes = list;
    copies = true;
    assert_int_equal(statvfs(offered_host.dir, &fs), 0);
    size.allocated = other.allocated = (uint64_t)fs.f_bavail * fs.f_frsize / 8 * 5;
    snprintf(more, sizeof(more),
             ", \"memory-mib\": 1, \"disks\": [{\"name\": \"d\", \"file\": \"%s/d\", \"format\": "
             "\"raw\"}, {\"name\": \"e\", \"file\": \"%s/e\", \"format\": \"raw\"}]",
             offered_host.dir, offered_host.dir);
    offered_say(VST_HANDOVER_PREPARE, true, offered_make_offer("none", more));
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    assert_null(strstr(answer.text, "/d: "));
    offered_said("/e: a copy needs ");
}

/* Hosts that are newer may say more of a guest. */
static void offer_that_says_more_is_taken_and_a_bad_one_refused(void **state)
{
    char *offer = offered_make_offer("none", ", \"memory-mib\": 1"), *more;

    (void)state;
    assert_true(asprintf(&more, "{\"colour\": \"red\", %s", offer + 1) > 0);
    offered_say(VST_HANDOVER_PREPARE, true, more);
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    assert_true(asprintf(&more, "{\"method\": \"by mail\", %s", offer + 1) > 0);
    offered_say(VST_HANDOVER_PREPARE, true, more);
    assert_int_equal(answer.code, VST_ERR_INVALID);
    offered_said("the offer: header: method: ");
    free(offer);
}

static void name_that_is_taken_is_told(void **state)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_host_start(&offered_host, definition, &err), 0);
    free(definition);
    for (int check = 1; check >= 0; check--) {
        offered_say(VST_HANDOVER_PREPARE, check, offered_make_offer("pc-i440fx-99.0", all_wrong));
        assert_all_wrong_was_said();
        offered_said("a domain named g is there already");
    }
    vst_host_destroy(&offered_host, "g", &err);
}

static void cpus_that_are_not_to_be_had_are_told(void **state)
{
    static const struct {
        const char *more;
        const char *said; /* "": nothing stands in the way */
    } rows[] = {
        {", \"cpu\": \"qemu64\"", ""},
        {", \"cpu\": \"max,-avx2\"", ""},
        {", \"cpu\": \"Hal9000,+red\"", "no CPU model Hal9000"},
    };
    char more[100], *offer;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        snprintf(more, sizeof(more), ", \"memory-mib\": 1%s", rows[i].more);
        offered_say(VST_HANDOVER_PREPARE, true, offered_make_offer("none", more));
        assert_int_equal(answer.event, *rows[i].said ? VST_HANDOVER_REFUSED : VST_HANDOVER_STARTED);
        offered_said(rows[i].said);
    }
    offer = offered_make_offer("pc-i440fx-7.2", ", \"memory-mib\": 1");
    memcpy(strstr(offer, "\"vcpus\":1") + strlen("\"vcpus\":"), "9", 1);
    offered_say(VST_HANDOVER_PREPARE, true, offer);
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    offer = offered_make_offer("none", ", \"memory-mib\": 1");
    memcpy(strstr(offer, "\"vcpus\":1") + strlen("\"vcpus\":"), "9", 1);
    offered_say(VST_HANDOVER_PREPARE, true, offer);
    offered_said("the guest has 9 CPUs, and the machine type none 1 at most");
}

#define UUID "00000000-0000-4000-8000-0000000000aa"

static void uuid_that_is_taken_is_told(void **state)
{
    char *other = vst_host_none("other"), *definition;
    struct vst_error err = {0};

    (void)state;
    other[strlen(other) - 1] = '\0';
    assert_true(asprintf(&definition, "%s, \"uuid\": \"" UUID "\"}", other) > 0);
    assert_int_equal(vst_host_start(&offered_host, definition, &err), 0);
    free(definition);
    free(other);
    for (int check = 1; check >= 0; check--) {
        offered_say(VST_HANDOVER_PREPARE, check,
                    offered_make_offer("none", ", \"memory-mib\": 1, \"uuid\": \"" UUID "\""));
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        offered_said("that of domain other already");
    }
    vst_host_destroy(&offered_host, "other", &err);
}

static unsigned started, failed;

static void have_started(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    enum vst_code *code = opaque;

    *code = err ? err->code : VST_ERR_OK;
    started += !err;
    failed += err != NULL;
    if (domain)
        vst_domain_free(&domain);
}

static void of_two_that_start_with_one_uuid_one_does_not(void **state)
{
    enum vst_code codes[2];

    (void)state;
    started = failed = 0;
    for (int i = 0; i < 2; i++) {
        struct vst_domain_cb cb = {have_started, &codes[i], NULL};
        char *guest = vst_host_none(i ? "two" : "one"), *definition;

        guest[strlen(guest) - 1] = '\0';
        assert_true(asprintf(&definition, "%s, \"uuid\": \"" UUID "\"}", guest) > 0);
        vst_domain_start(offered_host.conn, definition, NULL, &cb);
        free(definition);
        free(guest);
    }
    while (started + failed < 2)
        event_base_loop(offered_host.base, EVLOOP_ONCE);
    assert_int_equal(started, 1);
    assert_int_equal(codes[0] ? codes[0] : codes[1], VST_ERR_EXISTS);
}

static void reason_that_finds_no_room_is_counted(void **state)
{
    char more[3000] = ", \"memory-mib\": 1, \"disks\": [";
    size_t used = strlen(more);

    (void)state;
    for (int i = 0; i < 14; i++)
        used += (size_t)snprintf(more + used, sizeof(more) - used,
                                 "%s{\"name\": \"d%d\", \"file\": \"/nowhere/%0100d\", "
                                 "\"format\": \"raw\"}",
                                 i ? "," : "", i, i);
    snprintf(more + used, sizeof(more) - used, "]");
    offered_say(VST_HANDOVER_PREPARE, true, offered_make_offer("none", more));
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    offered_said("d0: ");
    offered_said(" more");
    assert_null(strstr(answer.text, "d13: "));
}

static void every_way_to_name_a_device_is_understood(void **state)
{
    static const struct {
        const char *args;
        const char *said; /* "": it is known */
    } rows[] = {
        {"\"-device\", \"virtio-net,id=a\"", ""},
        {"\"-device\", \"e1000\"", ""},
        {"\"-device\", \"driver=warp,id=a\"", "no device warp"},
        {"\"-device\", \"{\\\"driver\\\": \\\"warp\\\"}\"", "no device warp"},
        {"\"-device\", \"{\\\"driver\\\": \\\"e1000\\\"}\"", ""},
        {"\"-rtc\", \"base=utc\"", ""},
    };
    char more[200];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        snprintf(more, sizeof(more), ", \"memory-mib\": 1, \"args\": [%s]", rows[i].args);
        offered_say(VST_HANDOVER_PREPARE, true, offered_make_offer("none", more));
        assert_int_equal(answer.event, *rows[i].said ? VST_HANDOVER_REFUSED : VST_HANDOVER_STARTED);
        offered_said(rows[i].said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(everything_that_stands_in_the_way_is_told_at_once, offered_begin,
                      offered_end),
        VST_TEST_WITH(files_that_may_not_be_named_are_not_looked_at, offered_begin, offered_end),
        VST_TEST_WITH(firmware_by_name_is_looked_for_where_qemu_does, offered_begin, offered_end),
        VST_TEST_WITH(what_is_not_known_of_firmware_is_no_reason, begin_mute, offered_end),
        VST_TEST_WITH(check_that_waits_for_a_qemu_that_hangs_can_be_called_off, begin_mute,
                      offered_end),
        VST_TEST_WITH(disk_of_another_size_is_told, offered_begin, offered_end),
        VST_TEST_WITH(copy_that_finds_no_room_is_told, offered_begin, offered_end),
        VST_TEST_WITH(copies_that_find_no_room_together_are_told, offered_begin, offered_end),
        VST_TEST_WITH(offer_that_says_more_is_taken_and_a_bad_one_refused, offered_begin,
                      offered_end),
        VST_TEST_WITH(name_that_is_taken_is_told, offered_begin, offered_end),
        VST_TEST_WITH(cpus_that_are_not_to_be_had_are_told, offered_begin, offered_end),
        VST_TEST_WITH(uuid_that_is_taken_is_told, offered_begin, offered_end),
        VST_TEST_WITH(of_two_that_start_with_one_uuid_one_does_not, offered_begin, offered_end),
        VST_TEST_WITH(reason_that_finds_no_room_is_counted, offered_begin, offered_end),
        VST_TEST_WITH(every_way_to_name_a_device_is_understood, offered_begin, offered_end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

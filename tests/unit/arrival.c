/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a destination says to a guest that is offered, before any memory moves: everything that
 * stands in its way, at once; and what it does when nothing follows. With a QEMU, but no other
 * host: the offers are made up, so they may name what no source here could run.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/image.h"
#include "core/journal-codec.h"
#include "core/migration.h"
#include "drivers/qemu/new-disk.h"
#include "host.h"

#define TOKEN "00000000-0000-4000-8000-000000000001"
#define SOURCE "00000000-0000-4000-8000-00000000000a"

static struct vst_host host;

static const struct vst_objection *objections; /* of the rules of this host */
static struct vst_disk_size **sizes;           /* that the source has for its disks */
static bool copies;                            /* they are copied */
static unsigned questions;                     /* where firmware is looked for */

static int begin(void **state)
{
    (void)state;
    objections = NULL;
    sizes = NULL;
    copies = false;
    questions = 0;
    vst_test_seconds(60);
    vst_host_make(&host);
    return 0;
}

static int end(void **state)
{
    (void)state;
    vst_host_clear(&host);
    return 0;
}

/* ---- what is said ---- */

/* Of a tiny guest, with more members; `machine` is the type in full, as its QEMU has it. */
static char *make_offer(const char *machine, const char *more)
{
    static struct vst_disk_copy of_disk = {(char *)"d", 1 << 20}, *list[] = {&of_disk, NULL};
    static char qemu[] = "qemu", none[] = "none", test[] = "test";
    struct vst_image_header header = {.driver = qemu, .running = true, .compression = none};
    char *definition, *text;

    if (asprintf(&definition,
                 "{\"name\": \"g\", \"machine\": \"none\", \"accel\": \"tcg\", \"vcpus\": 1%s}",
                 more) < 0)
        fail_msg("memory");
    header.created_by = test;
    header.disks = sizes;
    header.copies = copies ? list : NULL;
    header.machine = (char *)machine;
    header.definition = vst_definition_parse(definition, strlen(definition), NULL);
    assert_non_null(header.definition);
    text = vst_image_header_to_json(&header, NULL);
    vst_definition_free(&header.definition);
    free(definition);
    return text;
}

static struct {
    enum vst_code code;
    enum vst_handover_event event;
    char text[1024];
} answer;

static void have_answer(const struct vst_migrate_message *message, const struct vst_error *err,
                        void *opaque)
{
    (void)opaque;
    answer.code = err ? err->code : VST_ERR_OK;
    answer.event = err ? VST_HANDOVER_NONE : message->event;
    snprintf(answer.text, sizeof(answer.text), "%s",
             err             ? err->text
             : message->text ? message->text
                             : "");
}

static void say(enum vst_handover_event event, bool check, char *offer)
{
    struct vst_migrate_message message = {.token = TOKEN,
                                          .host = SOURCE,
                                          .event = event,
                                          .check = check,
                                          .offer = offer,
                                          .objections = objections};
    struct vst_answer_cb cb = {have_answer, NULL, NULL};

    questions += offer && strstr(offer, "no-such.bin");
    vst_op_wait(vst_conn_migrate_message(host.conn, &message, &cb), NULL);
    free(offer);
}

static void assert_said(const char *words)
{
    if (!strstr(answer.text, words))
        fail_msg("`%s` is not in `%s`", words, answer.text);
}

/* Nothing of it is left, and no QEMU was started but the one that is asked what it can do, and each
 * that is asked where it looks for firmware. */
static void assert_nothing_began(void)
{
    vst_host_run(&host, 20);
    if (host.started->count > 1 + questions)
        fail_msg("%zu processes were started for %u questions", host.started->count, questions);
    assert_int_equal(vst_host_entries(&host, "root"), 1); /* the journal */
}

/* ---- what stands in the way ---- */

static const char all_wrong[] =
    ", \"memory-mib\": 16777216, \"kernel\": \"/nowhere/kernel\", \"disks\": [{\"name\": \"d\", "
    "\"file\": \"/nowhere/disk\", \"format\": \"raw\"}], \"args\": [\"-device\", "
    "\"warp-drive,id=w\", \"-bios\", \"no-such.bin\"]";

static void assert_all_wrong_was_said(void)
{
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    assert_said("needs 16777216 MiB of memory");
    assert_said("/nowhere/kernel");
    assert_said("/nowhere/disk");
    assert_said("firmware: no-such.bin");
    assert_said("no machine type pc-i440fx-99.0");
    assert_said("no device warp-drive");
}

static void everything_that_stands_in_the_way_is_told_at_once(void **state)
{
    (void)state;
    for (int check = 1; check >= 0; check--) {
        say(VST_HANDOVER_PREPARE, check, make_offer("pc-i440fx-99.0", all_wrong));
        assert_all_wrong_was_said();
        assert_nothing_began();
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
        say(VST_HANDOVER_PREPARE, true, make_offer("none", more));
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        assert_said("needs 16777216 MiB of memory");
        assert_int_equal(strstr(answer.text, "/nowhere/barred") != NULL, !barred);
        assert_int_equal(strstr(answer.text, "not that one") != NULL, barred);
        assert_int_equal(strstr(answer.text, "/nowhere/allowed") != NULL,
                         strstr(member, ALLOWED) != NULL);
    }
    assert_nothing_began();
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
    say(VST_HANDOVER_PREPARE, check, make_offer("none", more));
    if (found && answer.event != VST_HANDOVER_STARTED)
        fail_msg("%s: %s", member, answer.text);
    if (!found)
        assert_said(": is in no directory where QEMU of this host looks for it");
}

/* The first is there wherever a QEMU for PCs is. */
static void firmware_by_name_is_looked_for_where_qemu_does(void **state)
{
    char args[300], path[120];

    (void)state;
    expect_firmware("\"firmware\": \"kvmvapic.bin\"", true, true);
    expect_firmware("\"args\": [\"-bios\", \"kvmvapic.bin\"]", true, true);
    expect_firmware("\"args\": [\"-bios\", \"no-such.bin\"]", false, true);
    assert_said("firmware: no-such.bin: ");
    expect_firmware("\"args\": [\"-bios\", \"/nowhere/it/is\", \"-bios\", \"no-such.bin\"]", false,
                    true);
    snprintf(args, sizeof(args), "\"firmware\": \"mine.bin\", \"args\": [\"-L\", \"%s\"]",
             host.dir);
    expect_firmware(args, false, true);
    snprintf(path, sizeof(path), "%s/mine.bin", host.dir);
    make_image(path, "raw", 4096);
    expect_firmware(args, true, true);
    expect_firmware("\"firmware\": \"no-such.bin\", \"kernel\": \"/nowhere/kernel\"", false, false);
    assert_said("/nowhere/kernel");
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    assert_int_equal(vst_host_entries(&host, "root"), 1); /* the journal */
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
    objections = NULL;
    sizes = NULL;
    copies = false;
    questions = 0;
    vst_test_seconds(60);
    vst_host_make_with(&host, put_mute_in_path);
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
    struct vst_migrate_message message = {
        .token = TOKEN, .host = SOURCE, .event = VST_HANDOVER_PREPARE, .check = true};
    struct vst_answer_cb cb = {have_answer, NULL, NULL};
    struct vst_op *op;

    (void)state;
    snprintf(path, sizeof(path), "%s/hang", host.dir);
    make_image(path, "raw", 512);
    offer = make_offer("none", ", \"memory-mib\": 1, \"firmware\": \"no-such.bin\"");
    message.offer = offer;
    asking = false;
    host.edge = note_asking;
    op = vst_conn_migrate_message(host.conn, &message, &cb);
    free(offer);
    while (!asking)
        event_base_loop(host.base, EVLOOP_ONCE);
    host.edge = NULL;
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
    say(VST_HANDOVER_PREPARE, check, make_offer("none", more));
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
    snprintf(path, sizeof(path), "%s/disk", host.dir);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        make_image(path, rows[i].is, rows[i].size);
        offer_disk(path, rows[i].format, true);
        assert_said(rows[i].said);
        assert_int_equal(answer.event, *rows[i].said ? VST_HANDOVER_REFUSED : VST_HANDOVER_STARTED);
        assert_nothing_began();
    }
    offer_disk(path, "qcow2", false);
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    assert_said("is no qcow2 image");
    assert_nothing_began();
}

/* A disk with holes needs what it has, and not what it could have. */
static void copy_that_finds_no_room_is_told(void **state)
{
    struct vst_disk_size size = {(char *)"d", INT64_MAX, 0}, *list[] = {&size, NULL};
    char path[120];

    (void)state;
    sizes = list;
    copies = true;
    snprintf(path, sizeof(path), "%s/new", host.dir);
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
        assert_said("/new: a copy needs 1152921504606846976 bytes, and ");
        assert_said(" are free for it");
        assert_nothing_began();
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
    assert_int_equal(statvfs(host.dir, &fs), 0);
    size.allocated = other.allocated = (uint64_t)fs.f_bavail * fs.f_frsize / 8 * 5;
    snprintf(more, sizeof(more),
             ", \"memory-mib\": 1, \"disks\": [{\"name\": \"d\", \"file\": \"%s/d\", \"format\": "
             "\"raw\"}, {\"name\": \"e\", \"file\": \"%s/e\", \"format\": \"raw\"}]",
             host.dir, host.dir);
    say(VST_HANDOVER_PREPARE, true, make_offer("none", more));
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    assert_null(strstr(answer.text, "/d: "));
    assert_said("/e: a copy needs ");
}

/* Hosts that are newer may say more of a guest. */
static void offer_that_says_more_is_taken_and_a_bad_one_refused(void **state)
{
    char *offer = make_offer("none", ", \"memory-mib\": 1"), *more;

    (void)state;
    assert_true(asprintf(&more, "{\"colour\": \"red\", %s", offer + 1) > 0);
    say(VST_HANDOVER_PREPARE, true, more);
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    assert_true(asprintf(&more, "{\"method\": \"by mail\", %s", offer + 1) > 0);
    say(VST_HANDOVER_PREPARE, true, more);
    assert_int_equal(answer.code, VST_ERR_INVALID);
    assert_said("the offer: header: method: ");
    free(offer);
}

static void name_that_is_taken_is_told(void **state)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_host_start(&host, definition, &err), 0);
    free(definition);
    for (int check = 1; check >= 0; check--) {
        say(VST_HANDOVER_PREPARE, check, make_offer("pc-i440fx-99.0", all_wrong));
        assert_all_wrong_was_said();
        assert_said("a domain named g is there already");
    }
    vst_host_destroy(&host, "g", &err);
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
        say(VST_HANDOVER_PREPARE, true, make_offer("none", more));
        assert_int_equal(answer.event, *rows[i].said ? VST_HANDOVER_REFUSED : VST_HANDOVER_STARTED);
        assert_said(rows[i].said);
    }
    offer = make_offer("pc-i440fx-7.2", ", \"memory-mib\": 1");
    memcpy(strstr(offer, "\"vcpus\":1") + strlen("\"vcpus\":"), "9", 1);
    say(VST_HANDOVER_PREPARE, true, offer);
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    offer = make_offer("none", ", \"memory-mib\": 1");
    memcpy(strstr(offer, "\"vcpus\":1") + strlen("\"vcpus\":"), "9", 1);
    say(VST_HANDOVER_PREPARE, true, offer);
    assert_said("the guest has 9 CPUs, and the machine type none 1 at most");
}

#define UUID "00000000-0000-4000-8000-0000000000aa"

static void uuid_that_is_taken_is_told(void **state)
{
    char *other = vst_host_none("other"), *definition;
    struct vst_error err = {0};

    (void)state;
    other[strlen(other) - 1] = '\0';
    assert_true(asprintf(&definition, "%s, \"uuid\": \"" UUID "\"}", other) > 0);
    assert_int_equal(vst_host_start(&host, definition, &err), 0);
    free(definition);
    free(other);
    for (int check = 1; check >= 0; check--) {
        say(VST_HANDOVER_PREPARE, check,
            make_offer("none", ", \"memory-mib\": 1, \"uuid\": \"" UUID "\""));
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        assert_said("that of domain other already");
    }
    vst_host_destroy(&host, "other", &err);
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
        vst_domain_start(host.conn, definition, NULL, &cb);
        free(definition);
        free(guest);
    }
    while (started + failed < 2)
        event_base_loop(host.base, EVLOOP_ONCE);
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
    say(VST_HANDOVER_PREPARE, true, make_offer("none", more));
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    assert_said("d0: ");
    assert_said(" more");
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
        say(VST_HANDOVER_PREPARE, true, make_offer("none", more));
        assert_int_equal(answer.event, *rows[i].said ? VST_HANDOVER_REFUSED : VST_HANDOVER_STARTED);
        assert_said(rows[i].said);
    }
}

/* ---- what follows, or does not ---- */

static struct vst_migration_info seen;

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    (void)opaque;
    assert_null(err);
    assert_int_equal(count, 1);
    seen = infos[0];
}

static void look(void)
{
    struct vst_migrations_cb cb = {.fn = have_migrations};

    vst_op_wait(vst_conn_list_migrations(host.conn, &cb), NULL);
}

static void source_that_never_sends_is_given_up(void **state)
{
    (void)state;
    vst_conn_set_patience(host.conn, 1);
    say(VST_HANDOVER_PREPARE, false, make_offer("none", ", \"memory-mib\": 1"));
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    look();
    assert_string_equal(seen.phase, "prepare");
    while (strcmp(seen.phase, "prepare") == 0) {
        vst_host_run(&host, 50);
        look();
    }
    assert_string_equal(seen.reason, "g: the source has sent nothing for 1 seconds");
    while (strcmp(seen.phase, "clean-up") != 0) {
        vst_host_run(&host, 50);
        look();
    }
    assert_int_equal(vst_host_entries(&host, "root"), 1); /* the journal */
    say(VST_HANDOVER_COMMIT, false, NULL);
    assert_int_equal(answer.event, VST_HANDOVER_ABORTED);
    say(VST_HANDOVER_ABORT, false, NULL);
    look();
    assert_string_equal(seen.phase, "over");
}

/* ---- what the journal knows ---- */

static FILE *make_journal(const struct vst_host *made)
{
    unsigned char record[VST_JOURNAL_RECORD];
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/root", made->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/root/.state", made->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/root/.state/journal", made->dir);
    file = fopen(path, "we");
    assert_non_null(file);
    vst_journal_encode_host((const unsigned char *)"some host's id.", 1, record);
    assert_int_equal(fwrite(record, sizeof(record), 1, file), 1);
    return file;
}

/* Of guests that came once, and whose sources have not said that they know. */
static void fill_journal(const struct vst_host *made)
{
    unsigned char record[VST_JOURNAL_RECORD];
    FILE *file = make_journal(made);

    for (unsigned i = 0; i < VST_JOURNAL_TOKENS; i++) {
        struct vst_journal_entry entry = {.role = VST_HANDOVER_DESTINATION,
                                          .last = VST_HANDOVER_RECORD_RUNNING,
                                          .guest = "elsewhere"};

        memcpy(entry.token, &i, sizeof(i));
        vst_journal_encode(&entry, 2 + i, record);
        assert_int_equal(fwrite(record, sizeof(record), 1, file), 1);
    }
    assert_int_equal(fclose(file), 0);
}

/* Of a guest that was handed over, to a host that is not there. */
static void fill_with_doubt(const struct vst_host *made)
{
    struct vst_journal_entry entry = {.role = VST_HANDOVER_SOURCE,
                                      .last = VST_HANDOVER_RECORD_HANDED_OVER,
                                      .token = "another token",
                                      .peer = "another host",
                                      .runs = true,
                                      .guest = "g",
                                      .uri = "qemu+unix:///nowhere"};
    FILE *file = make_journal(made);
    unsigned char record[VST_JOURNAL_RECORD];

    vst_journal_encode(&entry, 2, record);
    assert_int_equal(fwrite(record, sizeof(record), 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

static int begin_in_doubt(void **state)
{
    (void)state;
    vst_test_seconds(60);
    vst_host_make_with(&host, fill_with_doubt);
    return 0;
}

static void name_of_a_guest_in_doubt_is_taken(void **state)
{
    (void)state;
    for (int check = 1; check >= 0; check--) {
        say(VST_HANDOVER_PREPARE, check, make_offer("none", ", \"memory-mib\": 1"));
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        assert_said("domain g is being handed over to another host");
        assert_nothing_began();
    }
}

/* ---- what is only looked at is nobody's migration ----
 *
 * Each of these is asked while the checks of such a guest are under way, and so is answered first.
 */

static void no_answer_yet(const struct vst_migrate_message *message, const struct vst_error *err,
                          void *opaque)
{
    (void)message, (void)err, (void)opaque;
}

static void begin_to_say(bool check)
{
    char *offer = make_offer("none", ", \"memory-mib\": 1");
    struct vst_migrate_message message = {.token = TOKEN,
                                          .host = SOURCE,
                                          .event = VST_HANDOVER_PREPARE,
                                          .check = check,
                                          .offer = offer};
    struct vst_answer_cb cb = {no_answer_yet, NULL, NULL};

    vst_conn_migrate_message(host.conn, &message, &cb);
    free(offer);
}

/* The journal goes on only after that, so there is a guest to be in doubt about. */
static void start_in_doubt(void)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    assert_int_equal(vst_host_start(&host, definition, &err), 0);
    free(definition);
    look();
    while (!seen.in_doubt) {
        vst_host_run(&host, 20);
        look();
    }
}

static void look_at_the_name_lets_nobody_end_a_guest_in_doubt(void **state)
{
    struct vst_domain_info info;
    struct vst_error err = {0};

    (void)state;
    start_in_doubt();
    for (int check = 1; check >= 0; check--) {
        err = (struct vst_error){0};
        begin_to_say(check);
        assert_int_equal(vst_host_destroy(&host, "g", &err), -1);
        assert_int_equal(err.code, VST_ERR_IN_DOUBT);
        vst_host_run(&host, 100);
    }
    assert_int_equal(vst_host_get_info(&host, "g", &info, &err), 0);
}

static void look_at_the_name_does_not_hide_that_a_guest_is_in_doubt(void **state)
{
    struct vst_domain_info info;

    (void)state;
    start_in_doubt();
    begin_to_say(true);
    assert_int_equal(vst_host_get_info(&host, "g", &info, NULL), 0);
    if (!strstr(info.reason, "in doubt, it may run at qemu+unix:///nowhere"))
        fail_msg("`%s` says nothing of the doubt", info.reason);
}

/* After a restart nothing of a departure is known but what the journal says. */
static void departure_in_doubt_is_in_the_phase_of_the_hand_over(void **state)
{
    (void)state;
    start_in_doubt();
    assert_string_equal(seen.phase, "hand-over");
}

static void look_at_the_name_lets_nobody_start_a_guest_in_doubt(void **state)
{
    char *definition = vst_host_none("g");
    struct vst_error err;

    (void)state;
    look();
    for (int check = 1; check >= 0; check--) {
        err = (struct vst_error){0};
        begin_to_say(check);
        assert_int_equal(vst_host_start(&host, definition, &err), -1);
        assert_int_equal(err.code, VST_ERR_IN_DOUBT);
        vst_host_run(&host, 100);
    }
    free(definition);
}

static int begin_full(void **state)
{
    (void)state;
    vst_test_seconds(120);
    vst_host_make_with(&host, fill_journal);
    return 0;
}

static off_t journal_size(void)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof(path), "%s/root/.state/journal", host.dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void full_journal_takes_no_guest_and_disowns_none(void **state)
{
    off_t size = journal_size();

    (void)state;
    /* Whoever has handed a guest over stays in doubt: it is not said to be his again. */
    for (int i = 0; i < 3; i++) {
        say(VST_HANDOVER_COMMIT, false, NULL);
        assert_int_equal(answer.code, VST_ERR_BUSY);
        assert_said("holds 4096 migrations that have no end");
    }
    for (int check = 1; check >= 0; check--) {
        say(VST_HANDOVER_PREPARE, check, make_offer("none", ", \"memory-mib\": 1"));
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        assert_said("holds 4096 migrations that have no end");
        assert_nothing_began();
    }
    say(VST_HANDOVER_ABORT, false, NULL);
    assert_int_equal(answer.event, VST_HANDOVER_FINISHED);
    vst_host_run(&host, 100);
    assert_int_equal(journal_size(), size);
}

static void have_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    assert_null(err);
    *(struct vst_domain **)opaque = domain;
}

static void look_at_the_name_keeps_no_guest_from_leaving(void **state)
{
    struct vst_migrate_options opt = {0};
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {have_domain, &domain, NULL};
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_op_wait(vst_domain_start(host.conn, definition, NULL, &cb), &err), 0);
    free(definition);
    say(VST_HANDOVER_ABORT, false, NULL); /* which opens the journal */
    begin_to_say(true);
    vst_op_wait(vst_domain_check_migration(domain, "qemu+unix:///nowhere", &opt, NULL), &err);
    assert_int_equal(err.code, VST_ERR_CONNECT); /* nobody listens there */
    vst_domain_free(&domain);
    vst_host_destroy(&host, "g", &err);
}

static void full_journal_lets_no_guest_begin_to_leave(void **state)
{
    struct vst_migrate_options opt = {0};
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {have_domain, &domain, NULL};
    char *definition = vst_host_none("g");
    struct vst_error err = {0};
    off_t size = journal_size();

    (void)state;
    assert_int_equal(vst_op_wait(vst_domain_start(host.conn, definition, NULL, &cb), &err), 0);
    free(definition);
    for (int check = 1; check >= 0; check--) {
        err = (struct vst_error){0};
        vst_op_wait((check ? vst_domain_check_migration
                           : vst_domain_migrate)(domain, "qemu:///?root=/nowhere", &opt, NULL),
                    &err);
        assert_int_equal(err.code, VST_ERR_BUSY);
        assert_non_null(strstr(err.text, "holds 4096 migrations that have no end"));
    }
    assert_int_equal(journal_size(), size);
    vst_domain_free(&domain);
    vst_host_destroy(&host, "g", &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(everything_that_stands_in_the_way_is_told_at_once, begin, end),
        VST_TEST_WITH(files_that_may_not_be_named_are_not_looked_at, begin, end),
        VST_TEST_WITH(firmware_by_name_is_looked_for_where_qemu_does, begin, end),
        VST_TEST_WITH(what_is_not_known_of_firmware_is_no_reason, begin_mute, end),
        VST_TEST_WITH(check_that_waits_for_a_qemu_that_hangs_can_be_called_off, begin_mute, end),
        VST_TEST_WITH(disk_of_another_size_is_told, begin, end),
        VST_TEST_WITH(copy_that_finds_no_room_is_told, begin, end),
        VST_TEST_WITH(copies_that_find_no_room_together_are_told, begin, end),
        VST_TEST_WITH(offer_that_says_more_is_taken_and_a_bad_one_refused, begin, end),
        VST_TEST_WITH(name_that_is_taken_is_told, begin, end),
        VST_TEST_WITH(cpus_that_are_not_to_be_had_are_told, begin, end),
        VST_TEST_WITH(uuid_that_is_taken_is_told, begin, end),
        VST_TEST_WITH(of_two_that_start_with_one_uuid_one_does_not, begin, end),
        VST_TEST_WITH(reason_that_finds_no_room_is_counted, begin, end),
        VST_TEST_WITH(every_way_to_name_a_device_is_understood, begin, end),
        VST_TEST_WITH(source_that_never_sends_is_given_up, begin, end),
        VST_TEST_WITH(name_of_a_guest_in_doubt_is_taken, begin_in_doubt, end),
        VST_TEST_WITH(look_at_the_name_lets_nobody_end_a_guest_in_doubt, begin_in_doubt, end),
        VST_TEST_WITH(look_at_the_name_does_not_hide_that_a_guest_is_in_doubt, begin_in_doubt, end),
        VST_TEST_WITH(departure_in_doubt_is_in_the_phase_of_the_hand_over, begin_in_doubt, end),
        VST_TEST_WITH(look_at_the_name_lets_nobody_start_a_guest_in_doubt, begin_in_doubt, end),
        VST_TEST_WITH(look_at_the_name_keeps_no_guest_from_leaving, begin, end),
        VST_TEST_WITH(full_journal_takes_no_guest_and_disowns_none, begin_full, end),
        VST_TEST_WITH(full_journal_lets_no_guest_begin_to_leave, begin_full, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

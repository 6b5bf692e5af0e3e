/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may send guests where, and whose guests may come with what: what an intruder would try.
 */
#include "remote/move-rules.h"

#include <stdio.h>
#include <string.h>

#include "test.h"

static void expect(int status, const struct vst_error *err, enum vst_code code, const char *text)
{
    assert_int_equal(status, code == VST_ERR_OK ? 0 : -1);
    if (err->code != code || (text && !strstr(err->text, text)))
        fail_msg("%s: `%s`, without `%s`", vst_code_name(err->code), err->text, text ? text : "");
}

/* ---- out ---- */

static void go(const char *destination, bool args, enum vst_code code, const char *text)
{
    struct vst_error err = {0};

    expect(vst_move_rules_check_destination(destination, args, &err), &err, code, text);
}

static void guests_go_to_other_hosts_alone(void **state)
{
    (void)state;
    go("qemu+tls://b/", false, VST_ERR_OK, NULL);
    go("qemu+tcp://b/", false, VST_ERR_OK, NULL);
    go("qemu+tls://b:7/?window=64K", false, VST_ERR_OK, NULL);
    go("qemu:///", true, VST_ERR_INVALID, "is no other host");
    go("b", true, VST_ERR_INVALID, "is not a connection URI");
}

static void files_of_the_host_are_named_by_admin_alone(void **state)
{
    static const char *const uris[] = {
        "qemu+tls://eve/?user=x&mech=PLAIN&password-file=/etc/shadow",
        "qemu+tls://eve/?ca=/tmp/eve.pem",
        "qemu+tls://eve/?cert=/a",
        "qemu+tls://eve/?key=/a",
        "qemu+tls://eve/?pkipath=/tmp",
        "qemu+tls://eve/?window=64K&CA=/tmp",
        "qemu+unix:///run/b.sock",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(uris) / sizeof(*uris); i++) {
        go(uris[i], false, VST_ERR_ACCESS, "only the role admin");
        go(uris[i], true, VST_ERR_OK, NULL);
    }
}

/* ---- in ---- */

static void guests_come_from_where_is_said(void **state)
{
    struct vst_access *accept = vst_access_new(NULL);
    struct vst_identity identity = {0};
    struct vst_error err = {0};

    (void)state;
    vst_identity_add_x509(&identity, "CN=b,O=Example", NULL, NULL);
    expect(vst_move_rules_check_source(NULL, &identity, &err), &err, VST_ERR_OK, NULL);
    expect(vst_move_rules_check_source(accept, &identity, &err), &err, VST_ERR_OK, NULL);
    vst_access_add(accept, VST_ROLE_TRANSFER, "x509:CN=a,O=Example", NULL);
    expect(vst_move_rules_check_source(accept, &identity, &err), &err, VST_ERR_ACCESS,
           "accept-from");
    assert_non_null(strstr(err.text, "CN=b"));
    vst_access_add(accept, VST_ROLE_TRANSFER, "x509:CN=*,O=Example", NULL);
    err = (struct vst_error){0};
    expect(vst_move_rules_check_source(accept, &identity, &err), &err, VST_ERR_OK, NULL);
    vst_identity_clear(&identity);
    vst_access_free(&accept);
}

#define OFFER(more)                                                                          \
    "{\"qemu\":\"9.0\",\"definition\":{\"name\":\"g\",\"machine\":\"pc\",\"accel\":\"tcg\"," \
    "\"memory-mib\":1,\"vcpus\":1" more "}}"

/* All that is said against it, as one error. */
static int judge(const char *offer, char *const *paths, bool args, struct vst_error *ret_err)
{
    struct vst_objection *objections = NULL;
    int status = vst_move_rules_check_offer(offer, paths, args, &objections, ret_err);

    if (status == 0)
        status = vst_objections_tell(objections, NULL, ret_err);
    vst_objections_free(&objections);
    return status;
}

static void come(const char *offer, char *const *paths, bool args, enum vst_code code,
                 const char *text)
{
    struct vst_error err = {0};

    expect(judge(offer, paths, args, &err), &err, code, text);
}

static void raw_arguments_come_by_admin_alone(void **state)
{
    (void)state;
    come(OFFER(""), NULL, false, VST_ERR_OK, NULL);
    come(OFFER(",\"args\":[]"), NULL, false, VST_ERR_OK, NULL);
    come(OFFER(",\"args\":[\"-S\"]"), NULL, false, VST_ERR_ACCESS, "`args`");
    come(OFFER(",\"args\":[\"-S\"]"), NULL, true, VST_ERR_OK, NULL);
}

static void files_are_below_the_directories_that_are_said(void **state)
{
    char *paths[] = {(char *)"/vm", (char *)"/srv/images/", NULL}, *root[] = {(char *)"/", NULL};
    static const char *const good[] = {
        OFFER(",\"disks\":[{\"name\":\"a\",\"file\":\"/vm/a\",\"format\":\"raw\"}]"),
        OFFER(",\"disks\":[{\"name\":\"a\",\"file\":\"/srv/images/x/..a\",\"format\":\"raw\"}]"),
        OFFER(",\"kernel\":\"/vm/k\",\"initrd\":\"/vm//i\""),
        OFFER(",\"firmware\":\"bios.bin\""),
        OFFER(",\"console\":{\"log\":\"/vm/log\"}"),
        OFFER(",\"console\":{}"),
    };
    static const char *const bad[] = {
        OFFER(",\"disks\":[{\"name\":\"a\",\"file\":\"/vmx/a\",\"format\":\"raw\"}]"),
        OFFER(",\"disks\":[{\"name\":\"a\",\"file\":\"/vm/../etc/a\",\"format\":\"raw\"}]"),
        OFFER(",\"disks\":[{\"name\":\"a\",\"file\":\"/vm/..\",\"format\":\"raw\"}]"),
        OFFER(",\"disks\":[{\"name\":\"a\",\"file\":\"/srv/a\",\"format\":\"raw\"}]"),
        OFFER(",\"kernel\":\"/boot/vmlinuz\""),
        OFFER(",\"kernel\":\"/vm/k\",\"initrd\":\"/etc/shadow\""),
        OFFER(",\"firmware\":\"/etc/shadow\""),
        OFFER(",\"console\":{\"log\":\"/etc/cron.d/x\"}"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        come(good[i], paths, false, VST_ERR_OK, NULL);
        come(good[i], NULL, false, VST_ERR_OK, NULL);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        come(bad[i], paths, true, VST_ERR_ACCESS, "allow-path");
        come(bad[i], NULL, false, VST_ERR_OK, NULL);
    }
    come(bad[0], root, false, VST_ERR_OK, NULL);
}

static void everything_that_stands_in_the_way_is_told(void **state)
{
    const char *offer =
        OFFER(",\"disks\":[{\"name\":\"a\",\"file\":\"/x/a\",\"format\":\"raw\"},"
              "{\"name\":\"b\",\"file\":\"/x/b\",\"format\":\"raw\"}],\"args\":[\"-S\"]");
    char *paths[] = {(char *)"/vm", NULL};
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(judge(offer, paths, false, &err), -1);
    assert_non_null(strstr(err.text, "(`args`)"));
    assert_non_null(strstr(err.text, "\ndisk /x/a: "));
    assert_non_null(strstr(err.text, "\ndisk /x/b: "));
}

/* Nobody looks for a file that may not be named, and all others are looked for. */
static void files_that_may_not_be_named_are_told_apart(void **state)
{
    const char *offer =
        OFFER(",\"kernel\":\"/vm/k\",\"initrd\":\"/x/i\",\"disks\":[{\"name\":\"a\","
              "\"file\":\"/x/a\",\"format\":\"raw\"}],\"args\":[\"-S\"]");
    char *paths[] = {(char *)"/vm", NULL};
    struct vst_objection *found = NULL;

    (void)state;
    assert_int_equal(vst_move_rules_check_offer(offer, paths, false, &found, NULL), 0);
    assert_non_null(found);
    assert_null(found[0].file);
    assert_string_equal(found[1].file, "/x/i");
    assert_string_equal(found[2].file, "/x/a");
    assert_null(found[3].text);
    vst_objections_free(&found);
}

static void as_much_of_it_as_fits(void **state)
{
    char *paths[] = {(char *)"/vm", NULL};
    struct vst_error err = {0};
    char offer[16384] = OFFER(",\"disks\":[");

    (void)state;
    offer[strlen(offer) - 2] = '\0';
    for (int i = 0; i < 60; i++)
        snprintf(offer + strlen(offer), sizeof(offer) - strlen(offer),
                 "%s{\"name\":\"d%d\",\"file\":\"/%0100d\",\"format\":\"raw\"}", i ? "," : "", i,
                 i);
    snprintf(offer + strlen(offer), sizeof(offer) - strlen(offer), "]}}");
    assert_int_equal(judge(offer, paths, false, &err), -1);
    assert_int_equal(err.code, VST_ERR_ACCESS);
    assert_non_null(strstr(err.text, " more"));
    assert_non_null(strstr(err.text, "names\nand "));
}

static void what_is_no_offer_is_refused(void **state)
{
    (void)state;
    come("", NULL, true, VST_ERR_INVALID, "the offer");
    come("[]", NULL, true, VST_ERR_INVALID, "the offer");
    come("{}", NULL, true, VST_ERR_INVALID, "definition: missing");
    come("{\"definition\":7}", NULL, true, VST_ERR_INVALID, "definition");
    come(OFFER(",\"surprise\":1"), NULL, true, VST_ERR_INVALID, "surprise");
    come("{\"definition\":{},\"definition\":{}}", NULL, true, VST_ERR_INVALID, "twice");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(guests_go_to_other_hosts_alone),
        VST_TEST(files_of_the_host_are_named_by_admin_alone),
        VST_TEST(guests_come_from_where_is_said),
        VST_TEST(raw_arguments_come_by_admin_alone),
        VST_TEST(files_are_below_the_directories_that_are_said),
        VST_TEST(everything_that_stands_in_the_way_is_told),
        VST_TEST(files_that_may_not_be_named_are_told_apart),
        VST_TEST(as_much_of_it_as_fits),
        VST_TEST(what_is_no_offer_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

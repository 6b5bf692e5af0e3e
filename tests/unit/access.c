/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may do what: the whole matrix of roles and procedures as it is meant, written down a second
 * time, and the matching of identities with what an intruder would try.
 */
#include "remote/access.h"

#include <stdio.h>
#include <string.h>

#include "test.h"

/* One row a procedure; a letter for each role that may: observe, operate, transfer, admin. */
static const struct {
    const char *procedure;
    const char *may;
} matrix[] = {
    {"list", "opta"},          {"lookup", "opta"},
    {"info", "opta"},          {"events", "opta"},
    {"stats", "opta"},         {"screenshot", "opta"},
    {"start", "pta"},          {"control", "pta"},
    {"console", "pta"},        {"save", "ta"},
    {"restore", "ta"},         {"volumes", "opta"},
    {"volume-upload", "ta"},   {"volume-download", "ta"},
    {"volume-delete", "ta"},   {"migrate", "ta"},
    {"migrations", "opta"},    {"migration-order", "ta"},
    {"migrate-message", "ta"}, {"migrate-stream", "ta"},
    {"relay-begin", "ta"},     {"relay-fetch", "ta"},
    {"relay-answer", "ta"},    {"relay-stream", "ta"},
};

static const char letters[] = "-opta"; /* by role */

static void every_role_may_do_what_it_may_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(sizeof(matrix) / sizeof(*matrix), VST_PROCEDURE_COUNT);
    for (int i = 0; i < VST_PROCEDURE_COUNT; i++) {
        assert_string_equal(matrix[i].procedure, vst_procedures[i].name);
        for (int role = VST_ROLE_NONE; role <= VST_ROLE_ADMIN; role++) {
            struct vst_error err = {0};
            int may = strchr(matrix[i].may, letters[role]) != NULL;

            if ((vst_access_check(role, i, &err) == 0) != may)
                fail_msg("%s of %s", matrix[i].procedure, vst_role_name(role));
            assert_int_equal(err.code, may ? VST_ERR_OK : VST_ERR_ACCESS);
            if (!may)
                assert_non_null(strstr(err.text, vst_role_name(vst_procedures[i].role)));
        }
    }
}

static void raw_arguments_are_for_admin_alone(void **state)
{
    (void)state;
    for (int role = VST_ROLE_NONE; role <= VST_ROLE_ADMIN; role++)
        assert_int_equal(vst_access_may_use_args(role), role == VST_ROLE_ADMIN);
}

static enum vst_role role_by(const char *pattern, const struct vst_identity *identity)
{
    struct vst_error err = {0};
    struct vst_access *access = vst_access_new(&err);
    enum vst_role role;

    assert_int_equal(vst_access_add(access, VST_ROLE_OPERATE, pattern, &err), 0);
    role = vst_access_role(access, identity);
    vst_access_free(&access);
    return role;
}

static int x509_fits(const char *pattern, const char *subject)
{
    struct vst_identity identity = {0};
    enum vst_role role;

    vst_identity_add_x509(&identity, subject, NULL, NULL);
    role = role_by(pattern, &identity);
    vst_identity_clear(&identity);
    return role != VST_ROLE_NONE;
}

static int user_fits(const char *pattern, const char *user)
{
    struct vst_identity identity = {0};
    enum vst_role role;

    vst_identity_add_user(&identity, user, NULL);
    role = role_by(pattern, &identity);
    vst_identity_clear(&identity);
    return role != VST_ROLE_NONE;
}

static void identities_match_whole(void **state)
{
    (void)state;
    assert_true(user_fits("sasl:alice", "alice"));
    assert_false(user_fits("sasl:alice", "alice2"));
    assert_false(user_fits("sasl:alice", "malice"));
    assert_false(user_fits("sasl:alice", "Alice"));
    assert_false(user_fits("sasl:alice", ""));
    assert_false(user_fits("x509:alice", "alice"));
    assert_false(user_fits("unix:0", "0"));
    assert_true(user_fits("sasl:*@EXAMPLE.COM", "bob@EXAMPLE.COM"));
    assert_false(user_fits("sasl:*@EXAMPLE.COM", "bob@EXAMPLE.COM.evil"));
    assert_true(user_fits("sasl:*a*b*", "xxaxxbxx"));
    assert_false(user_fits("sasl:*a*b", "bbaa"));
    assert_true(user_fits("sasl:*", "bob,carol"));
}

static void wildcard_does_not_leave_its_value_of_a_subject(void **state)
{
    (void)state;
    assert_true(x509_fits("x509:CN=ops,O=Example", "CN=ops,O=Example"));
    assert_true(x509_fits("x509:CN=*,O=Example", "CN=ops,O=Example"));
    assert_true(x509_fits("x509:CN=*.example.org,O=*", "CN=a.b.example.org,O=Example"));
    assert_false(x509_fits("x509:CN=*,O=Example", "CN=eve,OU=guests,O=Example"));
    assert_false(x509_fits("x509:CN=*,O=Example", "CN=eve+UID=1,O=Example"));
    assert_false(x509_fits("x509:CN=*,O=Example", "CN=eve\\,O=Example"));
    assert_false(x509_fits("x509:CN=*,O=Example", "CN=eve\\,O=Example,O=Other"));
    assert_true(x509_fits("x509:CN=*,O=Example", "CN=Smith\\, John,O=Example"));
    assert_false(x509_fits("x509:CN=ops", "CN=ops,O=Example"));
    assert_false(x509_fits("x509:O=Example", "CN=ops,O=Example"));
    assert_true(x509_fits("x509:*", "CN=eve,OU=guests"));
    assert_false(x509_fits("sasl:*", "CN=eve"));
}

static void uri_that_is_none_is_no_name(void **state)
{
    static const char *const uris[] = {"spiffe://example/ops", "CN=ops,O=Example", "=x:y", "",
                                       NULL};
    struct vst_identity identity = {0};

    (void)state;
    assert_int_equal(vst_identity_add_x509(&identity, "CN=host", uris, NULL), 0);
    assert_int_equal(identity.count, 2);
    assert_int_equal(role_by("x509:spiffe://example/*", &identity), VST_ROLE_OPERATE);
    assert_int_equal(role_by("x509:CN=host", &identity), VST_ROLE_OPERATE);
    assert_int_equal(role_by("x509:CN=ops,O=Example", &identity), VST_ROLE_NONE);
    vst_identity_clear(&identity);
}

static void greatest_role_of_all_names_counts(void **state)
{
    struct vst_error err = {0};
    struct vst_access *access = vst_access_new(&err);
    struct vst_identity identity = {0};
    char text[64];

    (void)state;
    assert_true(vst_access_is_empty(access));
    vst_identity_print(&identity, text, sizeof(text));
    assert_string_equal(text, "nobody");
    assert_int_equal(vst_access_role(access, &identity), VST_ROLE_NONE);
    vst_identity_add_unix(&identity, 1000, NULL);
    vst_identity_add_user(&identity, "alice", NULL);
    assert_int_equal(vst_access_role(access, &identity), VST_ROLE_NONE);
    vst_access_add(access, VST_ROLE_OBSERVE, "unix:*", &err);
    vst_access_add(access, VST_ROLE_TRANSFER, "sasl:alice", &err);
    vst_access_add(access, VST_ROLE_OPERATE, "sasl:*", &err);
    vst_access_add(access, VST_ROLE_ADMIN, "unix:0", &err);
    assert_int_equal(vst_access_role(access, &identity), VST_ROLE_TRANSFER);
    vst_identity_print(&identity, text, sizeof(text));
    assert_string_equal(text, "unix:1000, sasl:alice");
    vst_identity_print(&identity, text, 8);
    assert_string_equal(text, "unix:10");
    vst_identity_clear(&identity);
    vst_access_free(&access);
}

static void principal_is_who_logged_in_or_else_the_first_name(void **state)
{
    static const char *const uris[] = {"spiffe://example/ops", NULL};
    struct vst_identity identity = {0};
    char text[64];

    (void)state;
    vst_identity_principal(&identity, text, sizeof(text));
    assert_string_equal(text, "");
    vst_identity_add_x509(&identity, "CN=host", uris, NULL);
    vst_identity_principal(&identity, text, sizeof(text));
    assert_string_equal(text, "x509:CN=host");
    vst_identity_add_user(&identity, "alice", NULL);
    vst_identity_principal(&identity, text, sizeof(text));
    assert_string_equal(text, "sasl:alice");
    vst_identity_principal(&identity, text, sizeof("sasl:alice") - 1); /* a part is nobody's name */
    assert_string_equal(text, "");
    vst_identity_clear(&identity);
}

static void what_is_no_identity_is_refused(void **state)
{
    static const char *const bad[] = {"alice",  "sasl:", "unix:root", "unix:-1", "X509:a",
                                      "user:a", "*",     ":",         ""};
    struct vst_access *access = vst_access_new(NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct vst_error err = {0};

        assert_int_equal(vst_access_add(access, VST_ROLE_ADMIN, bad[i], &err), -1);
        assert_int_equal(err.code, VST_ERR_INVALID);
    }
    assert_true(vst_access_is_empty(access));
    vst_access_free(&access);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(every_role_may_do_what_it_may_and_nothing_else),
        VST_TEST(raw_arguments_are_for_admin_alone),
        VST_TEST(identities_match_whole),
        VST_TEST(wildcard_does_not_leave_its_value_of_a_subject),
        VST_TEST(uri_that_is_none_is_no_name),
        VST_TEST(greatest_role_of_all_names_counts),
        VST_TEST(principal_is_who_logged_in_or_else_the_first_name),
        VST_TEST(what_is_no_identity_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

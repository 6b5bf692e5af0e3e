/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's configuration: what it may say, that every fault is told with its line, and that the
 * shipped file and the manual say the same as the code.
 */
#include "remote/daemon-config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "test.h"

static char told[8192];

static void complain(void *opaque, unsigned line, const char *text)
{
    size_t used = strlen(told);

    (void)opaque;
    snprintf(told + used, sizeof(told) - used, "%u: %s\n", line, text);
}

static struct vst_config *parse_bytes(const char *text, size_t length)
{
    told[0] = '\0';
    return vst_config_parse(text, length, complain, NULL);
}

static struct vst_config *parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void assert_told(const char *text, const char *what)
{
    struct vst_config *config = parse(text);

    assert_null(config);
    if (!strstr(told, what))
        fail_msg("%s is not in %s", what, told);
}

static void what_is_not_said_has_its_default(void **state)
{
    struct vst_config *config = parse("");

    (void)state;
    assert_non_null(config);
    assert_string_equal(config->log, "auto");
    assert_int_equal(config->nice, -10);
    assert_true(config->require_client_cert);
    assert_true(vst_access_is_empty(config->access));
    assert_int_equal(config->limits.clients, 10000);
    assert_int_equal(config->limits.window, 256 * 1024);
    assert_true(vst_access_is_empty(config->accept));
    assert_null(config->allow_paths);
    assert_null(config->serve);
    vst_config_free(&config);
}

static void expect_uri(const struct vst_config *config, const char *given, const char *expected)
{
    char *uri = vst_config_uri(config, given);

    assert_string_equal(uri, expected);
    free(uri);
}

static void what_is_opened_has_root_user_and_pools(void **state)
{
    struct vst_config *config = parse("[daemon]\nroot = /r/x y\nuser = q&a\n[listen]\nunix = /a\n"
                                      "[access]\nadmin=unix:0\n"
                                      "[pool one]\npath=/p/\xc3\xa9%\n[pool two]\npath=/2\n");

    (void)state;
    if (!config)
        fail_msg("%s", told);
    expect_uri(config, NULL, "qemu:///?root=/r/x%20y&user=q%26a&pool.one=/p/%C3%A9%25&pool.two=/2");
    expect_uri(config, "test:///", "test:///?pool.one=/p/%C3%A9%25&pool.two=/2");
    expect_uri(config, "test:///?domains=0",
               "test:///?domains=0&pool.one=/p/%C3%A9%25&pool.two=/2");
    vst_config_free(&config);
    config = parse("[listen]\nunix = /a\n[access]\nadmin=unix:0\n");
    expect_uri(config, NULL, "qemu:///");
    vst_config_free(&config);
}

static void everything_that_can_be_said_is_understood(void **state)
{
    struct vst_config *config =
        parse("[daemon]\nroot = /r\n\tuser = q ; a comment\nlog=journal\nnice=-20\n"
              "[listen]\nunix = /a\nunix=/b\ntcp=1.2.3.4:5\ntls = *:6\r\n"
              "tls=[::1]:7\n"
              "[tls]\nca=/ca\ncert=/cert\nkey=/key\ncrl=/crl\n"
              "require-client-cert = no\n"
              "[sasl]\nmechanisms = A B\ndatabase=/db\nsaslauthd=/s\n"
              "[access]\nadmin = x509:CN=ops,O=Example\nadmin=unix:0\n"
              "# a comment\n; another\n\n"
              "[migrate]\naccept-from = x509:*\naccept-from=unix:0\n"
              "allow-path = /vm\nallow-path=/srv\npatience-seconds=7\n"
              "[pool one]\npath=/1\n[pool two]\npath=/2\n"
              "[limits]\nclients=7\nwindow=1MiB\nmemory-per-client=1G\n"
              "[metrics]\nlisten = 127.0.0.1:9\n");

    (void)state;
    if (!config)
        fail_msg("%s", told);
    assert_string_equal(config->root, "/r");
    assert_string_equal(config->user, "q");
    assert_int_equal(config->nice, -20);
    assert_string_equal(config->unix_paths[1], "/b");
    assert_null(config->unix_paths[2]);
    assert_string_equal(config->tls[0], "*:6");
    assert_string_equal(config->tls[1], "[::1]:7");
    assert_string_equal(config->files.crl, "/crl");
    assert_false(config->require_client_cert);
    assert_string_equal(config->mechanisms, "A B");
    assert_false(vst_access_is_empty(config->accept));
    assert_string_equal(config->allow_paths[1], "/srv");
    assert_null(config->allow_paths[2]);
    assert_int_equal(config->patience_seconds, 7);
    assert_int_equal(config->pool_count, 2);
    assert_string_equal(config->pools[1].name, "two");
    assert_string_equal(config->pools[1].path, "/2");
    assert_int_equal(config->limits.clients, 7);
    assert_int_equal(config->limits.window, 1 << 20);
    assert_string_equal(config->metrics, "127.0.0.1:9");
    vst_config_free(&config);
}

#define TEN "/123456789"
#define LONG TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void every_fault_is_told_with_its_line(void **state)
{
    (void)state;
    assert_told("\n[daemon]\nrot = /x\n", "3: [daemon] has no key `rot`; did you mean `root`?");
    assert_told("[daemons]\nroot = /x\n",
                "2: there is no section [daemons]; did you mean [daemon]");
    assert_told("[nonsense]\na = b\n", "2: there is no section [nonsense]\n");
    assert_told("root = /x\n", "1: `root` stands before the first section");
    assert_told("[daemon]\nroot = x\n", "2: root = x: must be an absolute path");
    assert_told("[daemon]\nroot = /x\nroot = /y\n", "3: root: given in line 2 already");
    assert_told("[daemon]\nlog = syslog\n", "2: log = syslog: must be auto, stderr or journal");
    assert_told("[daemon]\nnice = -21\n", "2: nice = -21: must be -20 to 19");
    assert_told("[daemon]\nnice = 20\n", "2: nice = 20: must be -20 to 19");
    assert_told("[daemon]\nnice = --1\n", "2: nice = --1: must be -20 to 19");
    assert_told("[daemon]\nroot\n", "2: is neither [SECTION] nor KEY = VALUE");
    assert_told("[daemon]\nroot =\n", "2: root: has no value");
    assert_told("[tls]\nrequire-client-cert = maybe\n", "must be yes or no");
    assert_told("[migrate]\naccept-from = hostb\n", "2: accept-from = hostb: `hostb` is not an");
    assert_told("[listen]\nunix = /a\nunix = /b\nunix = /a\n", "4: unix = /a: given already");
    assert_told("[listen]\nunix = /" LONG "\n", "a UNIX socket has at most 107 bytes");
    assert_told("[metrics]\nlisten = /" LONG "\n", "a UNIX socket has at most 107 bytes");
    assert_told("[access]\nadmin = x509:O=a,CN=b,,\n", "a part of the subject is empty");
    assert_told("[access]\nadmin = x509:,O=a\n", "a part of the subject is empty");
    assert_told("[access]\nadmin = x509:O=a+\n", "a part of the subject is empty");
    assert_told("[migrate]\nallow-path = vm\n", "2: allow-path = vm: must be an absolute path");
    assert_told("[migrate]\npatience-seconds = 0\n", "patience-seconds = 0: must be 1 to 86400");
    assert_told("[limits]\nclients = -1\n", "2: clients = -1: must be a number");
    assert_told("[limits]\nclients = 0\n", "2: clients = 0: must be 1 to 1000000");
    assert_told("[limits]\nclients = 99999999999999999999999\n", "must be 1 to 1000000");
    assert_told("[limits]\nwindow = 1MB\n", "2: window = 1MB: must be a size such as 64MiB");
    assert_told("[limits]\nwindow = 128MiB\n", "2: must not be greater than memory-per-client");
    assert_told("[access]\nadmin = root\n", "2: admin = root: `root` is not an identity");
    assert_told("[access]\nroot = unix:0\n", "2: [access] has no key `root`");
    assert_told("[listen]\ntls = host:1\n", "2: tls = host:1: `host:1` is no address");
    assert_told("[listen]\ntls = 1.2.3.4\n", "2: tls = 1.2.3.4: `1.2.3.4` is no address");
    assert_told("[listen]\ntls = 1.2.3.4:65536\n", "no address");
    assert_told("[listen]\ntcp = *:1\n", "2: needs [sasl] mechanisms");
    assert_told("[listen]\ntls = *:1\n[tls]\nrequire-client-cert = no\n", "4: cannot be `no`");
    assert_told("[metrics]\nlisten = 0.0.0.0:1\n",
                "2: listen = 0.0.0.0:1: must be a loopback address");
    assert_told("[pool a/b]\npath = /x\n", "2: [pool a/b]: ");
    assert_told("[pool a]\npath = /x\npath = /y\n", "3: [pool a]: its path was given in line 2");
    assert_told("[pool a]\nsize = 3\n", "2: [pool a]: there is no key `size` here, only `path`");
    assert_told("[pool a]\n[limits]\nclients = 3\n", "1: this pool has no path");
    assert_told("[limits]\nclients = 3\n [pool a]\n# path = /x\n", "3: this pool has no path");
    assert_told("[daemon]\nuser = q\nserve = test:///\n", "2: is part of the URIs");
    assert_told("[daemon]\nserve = test:///\nserve = nonsense\n", "3: serve = nonsense: ");
    assert_told("[daemon]\nserve = xen:///\n", "2: serve = xen:///: there is no driver `xen`");
    assert_told("[daemon]\nserve = qemu+tls://h/\n", "only guests of this host can be served");
    assert_told("[a]\nb=1\n[c]\nd=1\n", "4: there is no section [c]");
}

static void one_fault_hides_no_other(void **state)
{
    (void)state;
    assert_null(parse("[listen]\nunix = rel\ntls = bad:1\ntls = *:1\ntls = bad:2\ntcp = *:2\n"
                      "nonsense\n[unclosed\nmore nonsense ; with = a comment\n"
                      "[tls]\nrequire-client-cert = no\n[limits]\nwindow = 128MiB\n"
                      "[metrics]\nlisten = 0.0.0.0:1\n[daemon]\nserve = test:///\n"
                      "serve = test:///?domains=0\nroot = /x\n"));
    assert_string_equal(
        told, "2: unix = rel: must be an absolute path\n"
              "3: tls = bad:1: `bad:1` is no address to listen on; one looks like "
              "192.0.2.1:16514, [::1]:16514 or *:16514\n"
              "5: tls = bad:2: `bad:2` is no address to listen on; one looks like "
              "192.0.2.1:16514, [::1]:16514 or *:16514\n"
              "7: is neither [SECTION] nor KEY = VALUE\n"
              "8: is neither [SECTION] nor KEY = VALUE\n"
              "9: is neither [SECTION] nor KEY = VALUE\n"
              "15: listen = 0.0.0.0:1: must be a loopback address or the path of a UNIX socket: "
              "whoever can reach it may read it\n"
              "18: serve = test:///?domains=0: the guests of `test` are served already; one line "
              "for each driver\n"
              "19: is part of the URIs where these are given with `serve`\n"
              "6: needs [sasl] mechanisms: without TLS nothing else tells who a client is\n"
              "11: cannot be `no` without [sasl] mechanisms: nothing else would tell who a client "
              "is\n"
              "13: must not be greater than memory-per-client\n");
}

static void faults_without_end_are_counted(void **state)
{
    char text[1000] = "";

    (void)state;
    for (size_t i = 0; i < 70; i++)
        memcpy(text + i * strlen("nonsense\n"), "nonsense\n", strlen("nonsense\n"));
    assert_null(parse(text));
    assert_non_null(strstr(told, "64: is neither"));
    assert_null(strstr(told, "65: is neither"));
    assert_non_null(strstr(told, "0: and 6 faults more\n"));
}

static void what_inih_would_cut_is_told(void **state)
{
    char line[400] = "[access]\nadmin = x509:CN=";
    struct vst_config *config;

    (void)state;
    memset(line + strlen(line), 'x', 250);
    assert_told(line, "2: is longer than");
    assert_told("[pool aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\npath = /x\n",
                "1: has a name of more than 49 letters");
    config = parse_bytes("[daemon]\nlog = a\0uto\n", 21);
    assert_null(config);
    assert_non_null(strstr(told, "2: has a NUL"));
    /* To inih the second line would be more of the first. */
    config = parse("[listen]\n  unix = /a\n  unix = /b\n");
    assert_non_null(config);
    assert_string_equal(config->unix_paths[1], "/b");
    vst_config_free(&config);
}

/* ---- the shipped file, and the manual ---- */

static char *text_of(const char *name)
{
    char path[4096];
    size_t length;
    char *bytes, *text;

    snprintf(path, sizeof(path), "%s/%s", VST_SOURCE, name);
    bytes = (char *)feed_file(path, &length);
    text = strndup(bytes, length);
    free(bytes);
    return text;
}

static void shipped_file_is_good_and_so_are_its_examples(void **state)
{
    char *text = text_of("conf/virstreamd.conf");
    struct vst_config *config = parse(text);

    (void)state;
    if (!config)
        fail_msg("%s", told);
    vst_config_free(&config);
    /* What has no blank after its `#` is an example. */
    for (char *at = text; (at = strchr(at, '#')); at++)
        if ((at == text || at[-1] == '\n') && at[1] != ' ' && at[1] != '\n')
            *at = ' ';
    /* With URIs to serve, root and user belong in there. */
    memcpy(strstr(text, "serve = "), "#erve = ", 8);
    config = parse(text);
    if (!config)
        fail_msg("%s", told);
    assert_int_equal(config->pool_count, 1);
    vst_config_free(&config);
    free(text);
}

/* The part of the text from one heading to the next of its kind. */
static char *section_of(const char *text, const char *heading, const char *any)
{
    const char *begin = strstr(text, heading), *end;

    assert_non_null(begin);
    end = strstr(begin + strlen(heading), any);
    return end ? strndup(begin, (size_t)(end - begin)) : strdup(begin);
}

static void check_shipped(const char *text, const struct vst_config_key *key)
{
    char heading[64], line[200], *section;

    snprintf(heading, sizeof(heading), "\n[%s]\n", key->section);
    section = section_of(text, heading, "\n[");
    snprintf(line, sizeof(line), "%s%s = %s", strcmp(key->section, "access") ? "\n#" : "",
             key->name, key->otherwise ? key->otherwise : "");
    if (!strstr(section, line))
        fail_msg("the shipped file has no `%s` under [%s]", line + 1, key->section);
    free(section);
}

static void check_manual(const char *text, const struct vst_config_key *key)
{
    char heading[64], word[64], *section;
    const char *found;

    snprintf(heading, sizeof(heading), "\n.Ss [%s]\n", key->section);
    section = section_of(text, heading, "\n.Ss [");
    snprintf(word, sizeof(word), "%s", key->name);
    found = strstr(section, word);
    if (!found)
        fail_msg("the manual has no %s under [%s]", key->name, key->section);
    snprintf(word, sizeof(word), "\n.It Cm %s\n", key->name);
    found = strstr(section, word);
    if (key->otherwise) {
        char *entry = section_of(section, word, "\n.It Cm ");

        assert_non_null(found);
        snprintf(word, sizeof(word), ".Ql %s", key->otherwise);
        if (!strstr(entry, word))
            fail_msg("the manual does not say that %s is %s", key->name, key->otherwise);
        free(entry);
    }
    free(section);
}

static void every_key_is_documented_with_its_default(void **state)
{
    char *shipped = text_of("conf/virstreamd.conf"), *manual = text_of("docs/virstreamd.conf.5");
    const struct vst_config_key *key;
    size_t i;

    (void)state;
    for (i = 0; (key = vst_config_key(i)); i++) {
        check_shipped(shipped, key);
        check_manual(manual, key);
    }
    assert_true(i > 20);
    free(shipped);
    free(manual);
}

static void matrix_of_the_manual_is_that_of_the_code(void **state)
{
    char *manual = text_of("docs/virstreamd.conf.5");

    (void)state;
    for (int i = 0; i < VST_PROCEDURE_COUNT; i++) {
        char row[200];
        int used = snprintf(row, sizeof(row), "\n.It %s", vst_procedures[i].name);

        for (int role = VST_ROLE_OBSERVE; role <= VST_ROLE_ADMIN; role++)
            used += snprintf(
                row + used, sizeof(row) - (size_t)used, " Ta %s",
                vst_access_check((enum vst_role)role, (enum vst_procedure)i, NULL) ? "no" : "yes");
        if (!strstr(manual, row))
            fail_msg("the manual has no line%s", row);
    }
    free(manual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(what_is_not_said_has_its_default),
        VST_TEST(everything_that_can_be_said_is_understood),
        VST_TEST(what_is_opened_has_root_user_and_pools),
        VST_TEST(every_fault_is_told_with_its_line),
        VST_TEST(one_fault_hides_no_other),
        VST_TEST(faults_without_end_are_counted),
        VST_TEST(what_inih_would_cut_is_told),
        VST_TEST(shipped_file_is_good_and_so_are_its_examples),
        VST_TEST(every_key_is_documented_with_its_default),
        VST_TEST(matrix_of_the_manual_is_that_of_the_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * URIs of remote connections: what each part and parameter means, and what is refused by name.
 */
#include "test.h"

#include <string.h>

#include "remote/target.h"

struct reading {
    struct vst_uri *uri;
    struct vst_target target;
};

static int make(void **state)
{
    static struct reading reading;

    reading = (struct reading){0};
    *state = &reading;
    return 0;
}

static int drop(void **state)
{
    struct reading *reading = *state;

    vst_target_clear(&reading->target);
    vst_uri_free(&reading->uri);
    return 0;
}

static const struct vst_target *read_uri(void **state, const char *text)
{
    struct reading *reading = *state;
    struct vst_error err = {0};

    drop(state);
    assert_int_equal(vst_uri_parse(text, &reading->uri, &err), 0);
    if (vst_target_read(reading->uri, &reading->target, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return &reading->target;
}

static void refuse(void **state, const char *text, const char *complaint)
{
    struct reading *reading = *state;
    struct vst_error err = {0};

    drop(state);
    assert_int_equal(vst_uri_parse(text, &reading->uri, &err), 0);
    assert_int_equal(vst_target_read(reading->uri, &reading->target, &err), -1);
    assert_int_equal(err.code, VST_ERR_INVALID);
    if (!strstr(err.text, complaint))
        fail_msg("`%s` is not in `%s`", complaint, err.text);
}

static void what_is_not_said_has_its_default(void **state)
{
    const struct vst_target *target = read_uri(state, "qemu+tls://host/");

    assert_int_equal(target->transport, VST_TRANSPORT_TLS);
    assert_string_equal(target->host, "host");
    assert_int_equal(target->port, 16515);
    assert_string_equal(target->label, "host:16515");
    assert_null(target->user);
    assert_int_equal(target->wire, VST_WIRE_EAGER);
    assert_int_equal(target->window, 256 * 1024);
    assert_int_equal(target->keepalive_ms, 5000);
    assert_int_equal(target->timeout, 20);
    assert_int_equal(read_uri(state, "test+tcp://host")->port, 16514);
    assert_string_equal(read_uri(state, "qemu+unix:///")->path, VST_SOCKET_PATH);
}

static void what_is_not_said_fits_the_patience(void **state)
{
    static const struct {
        const char *uri;
        unsigned patience, keepalive_ms, timeout;
    } rows[] = {
        {"qemu+tls://host/", 60, 5000, 20},
        {"qemu+tls://host/", 3600, 5000, 20},
        {"qemu+tls://host/", 6, 500, 6},
        {"qemu+tls://host/", 1, 250, 1},
        {"qemu+tls://host/?keepalive=9", 6, 9000, 6},
        {"qemu+tls://host/?timeout=9&keepalive=0", 6, 0, 9},
    };
    struct reading *reading = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        read_uri(state, rows[i].uri);
        vst_target_set_patience(&reading->target, reading->uri, rows[i].patience);
        assert_int_equal(reading->target.keepalive_ms, rows[i].keepalive_ms);
        assert_int_equal(reading->target.timeout, rows[i].timeout);
    }
}

static void every_parameter_is_read(void **state)
{
    const struct vst_target *target =
        read_uri(state, "qemu+tls://al%20ice@[::1]:7/?password-file=/p&mech=PLAIN%20GSSAPI"
                        "&pkipath=/d&ca=/a&cert=/c&key=/k&wire=acked&window=1M&keepalive=0"
                        "&timeout=3");

    assert_string_equal(target->host, "::1");
    assert_int_equal(target->port, 7);
    assert_string_equal(target->label, "[::1]:7");
    assert_string_equal(target->user, "al ice");
    assert_string_equal(target->password_file, "/p");
    assert_string_equal(target->mechanisms, "PLAIN GSSAPI");
    assert_string_equal(target->pki_path, "/d");
    assert_string_equal(target->files.ca, "/a");
    assert_string_equal(target->files.cert, "/c");
    assert_string_equal(target->files.key, "/k");
    assert_int_equal(target->wire, VST_WIRE_ACKED);
    assert_int_equal(target->window, 1024 * 1024);
    assert_int_equal(target->keepalive_ms, 0);
    assert_int_equal(target->timeout, 3);
    assert_string_equal(read_uri(state, "test+unix:///a%20b?user=bob")->path, "/a b");
    assert_int_equal(read_uri(state, "test+unix:///a?wire=replied")->wire, VST_WIRE_REPLIED);
}

static void what_is_wrong_is_named(void **state)
{
    refuse(state, "qemu+ssh://host/", "`ssh`");
    refuse(state, "qemu+tcp:///", "the host is missing");
    refuse(state, "qemu+tcp://host/system", "nothing but parameters");
    refuse(state, "qemu+unix://host/path", "has no host");
    refuse(state, "qemu+tcp://alice:secret@host/", "password-file=FILE");
    refuse(state, "qemu+tcp://alice@host/?user=bob", "twice");
    refuse(state, "qemu+tcp://host/?user=", "empty");
    refuse(state, "qemu+tcp://host/?password-file=/p", "whose");
    refuse(state, "qemu+tcp://host/?ca=/a", "`ca`");
    refuse(state, "qemu+tls://host/?no-verify=1", "`no-verify`");
    refuse(state, "qemu+tcp://host/?wire=fast", "eager, replied, acked");
    refuse(state, "qemu+tcp://host/?window=1", "window");
    refuse(state, "qemu+tcp://host/?window=lots", "not a size");
    refuse(state, "qemu+tcp://host/?timeout=0", "timeout=0");
    refuse(state, "qemu+tcp://host/?keepalive=-1", "keepalive=-1");
    refuse(state, "qemu+tcp://host/?keepalive=1s", "keepalive=1s");
}

static void path_that_no_socket_can_have_is_refused(void **state)
{
    char text[200] = "qemu+unix:///";

    memset(text + strlen(text), 'x', 120);
    refuse(state, text, "at most 107 bytes");
}

static void a_password_in_the_uri_is_not_repeated(void **state)
{
    struct reading *reading = *state;
    struct vst_error err = {0};

    assert_int_equal(vst_uri_parse("qemu+tcp://alice:secret@host/", &reading->uri, &err), 0);
    assert_int_equal(vst_target_read(reading->uri, &reading->target, &err), -1);
    assert_null(strstr(err.text, "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(what_is_not_said_has_its_default, make, drop),
        VST_TEST_WITH(what_is_not_said_fits_the_patience, make, drop),
        VST_TEST_WITH(every_parameter_is_read, make, drop),
        VST_TEST_WITH(what_is_wrong_is_named, make, drop),
        VST_TEST_WITH(path_that_no_socket_can_have_is_refused, make, drop),
        VST_TEST_WITH(a_password_in_the_uri_is_not_repeated, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

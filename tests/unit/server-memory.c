/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each allocation of the server's fails once, while a client in another process saves a guest, gets
 * it back, and looks around: the client hears of it or loses its connection, the next one is served
 * as if nothing had been, and nothing of it is left.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "served.h"
#include "virstream/domain.h"

enum { MOST = 20000, STRIDE = 7 };

static struct served served;

static void discard(int severity, const char *line)
{
    (void)severity, (void)line;
}

/* What a client does that gets on with whatever comes back. */
static void look_around(struct caller *caller)
{
    struct evbuffer *image = evbuffer_new();
    enum vst_code code;

    caller_call(caller, "events", "{}");
    caller_call(caller, "list", "{}");
    caller_call(caller, "info", "{\"name\":\"test2\"}");
    caller_call(caller, "control", "{\"name\":\"test2\",\"what\":\"suspend\"}");
    caller_call(caller, "control", "{\"name\":\"test2\",\"what\":\"resume\"}");
    caller_call(caller, "stats", "{}");
    code = caller_save(caller, "test1", image);
    /* Whole images that are not taken back: the guest is here now, and nowhere else. */
    if (code == VST_ERR_OK ? caller_restore(caller, "{}", image) != VST_ERR_OK
                           : evbuffer_get_length(image) > 256 * 1024)
        _exit(2);
    evbuffer_free(image);
}

/* Zero: the client has seen nothing wrong; 1: it has; 2: and has the guest. */
static int run_client(bool all)
{
    pid_t pid = vst_test_fork();
    int status;

    if (!pid) {
        struct served there = served;
        struct caller caller;

        memory_stop_failing();
        there.base = event_base_new();
        if (caller_join(&caller, &there, "test") < 0)
            _exit(1);
        if (all)
            look_around(&caller);
        _exit(caller_call(&caller, "list", "{}") != VST_ERR_OK);
    }
    /* A timer would want memory of its own. */
    while (waitpid(pid, &status, WNOHANG) == 0) {
        event_base_loop(served.base, EVLOOP_NONBLOCK);
        usleep(50);
    }
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void each_allocation_fails_once_and_the_next_client_is_served(void **state)
{
    unsigned after = 0, stride = vst_test_long() ? 1 : STRIDE;
    bool failed;

    (void)state;
    vst_test_seconds(vst_test_long() ? 3600 : 120);
    event_set_log_callback(discard);
    do {
        int first;

        assert_true(after < MOST);
        served_start(&served, "test:///?domains=2&memory=256K", VST_ROLE_ADMIN, NULL);
        memory_fail_once(after);
        first = run_client(true);
        failed = memory_stop_failing();
        if (!failed)
            assert_int_equal(first, 0);
        assert_int_equal(run_client(false), 0);
        served_run(&served, 5);
        if (first != 2)
            assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
        assert_int_equal(served_stats(&served).clients, 0);
        assert_int_equal(served_stats(&served).anonymous, 0);
        served_stop(&served);
        after += stride;
    } while (failed);
    printf("# %u allocations, every %u%s failed\n", after, stride, stride == 1 ? "st" : "th");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(each_allocation_fails_once_and_the_next_client_is_served),
    };

    if (!memory_can_fail()) {
        puts("1..0 # SKIP malloc() is not ours, and cannot fail when we want it to");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

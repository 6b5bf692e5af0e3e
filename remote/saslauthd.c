/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client of saslauthd. The question is user, password, service and realm, each with its length
 * in two bytes before it; the answer is a text in the same form that begins with OK or NO.
 */
#include "saslauthd.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { QUESTION_MAX = 4096, ANSWER_MAX = 1024, LENGTH = 2 };

struct question {
    unsigned char bytes[QUESTION_MAX];
    size_t length;
};

static int add(struct question *question, const char *text, size_t length)
{
    unsigned char *at = question->bytes + question->length;

    if (length + LENGTH > QUESTION_MAX - question->length)
        return -1;
    at[0] = (unsigned char)(length >> 8);
    at[1] = (unsigned char)length;
    memcpy(at + LENGTH, text, length);
    question->length += LENGTH + length;
    return 0;
}

/* What follows the last @ of a user's name is its realm. */
static int compose(struct question *question, const char *service, const char *user,
                   const char *password, struct vst_error *ret_err)
{
    const char *at = strrchr(user, '@');
    const char *realm = at ? at + 1 : "";
    size_t name = at ? (size_t)(at - user) : strlen(user);

    question->length = 0;
    if (add(question, user, name) == 0 && add(question, password, strlen(password)) == 0 &&
        add(question, service, strlen(service)) == 0 && add(question, realm, strlen(realm)) == 0)
        return 0;
    return vst_error_set(ret_err, VST_ERR_AUTH, "user and password are too long for saslauthd");
}

static int complain(const char *path, const char *what, struct vst_error *ret_err)
{
    int number = errno == EAGAIN || errno == EINPROGRESS ? ETIMEDOUT : errno;

    vst_error_set(ret_err, VST_ERR_AUTH, "saslauthd at %s: %s: %s", path, what,
                  strerrordesc_np(number));
    if (ret_err)
        ret_err->system = number;
    return -1;
}

/* No signal comes to the worker's threads, so no call here is interrupted. */
static int connect_to(const char *path, struct vst_error *ret_err)
{
    const struct timeval limit = {.tv_sec = VST_SASLAUTHD_SECONDS};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path))
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s is too long for a socket's path", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return complain(path, "socket", ret_err);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    complain(path, "connect", ret_err);
    close(fd);
    return -1;
}

static int receive(int fd, void *into, size_t length)
{
    ssize_t n = recv(fd, into, length, MSG_WAITALL);

    if (n >= 0 && (size_t)n < length)
        errno = ECONNRESET;
    return n >= 0 && (size_t)n == length ? 0 : -1;
}

static int ask(int fd, const char *path, const struct question *question, struct vst_error *ret_err)
{
    unsigned char head[LENGTH];
    char answer[ANSWER_MAX + 1] = "";
    size_t length;

    if (send(fd, question->bytes, question->length, MSG_NOSIGNAL) != (ssize_t)question->length)
        return complain(path, "write", ret_err);
    if (receive(fd, head, sizeof(head)) < 0)
        return complain(path, "read", ret_err);
    length = (size_t)head[0] << 8 | head[1];
    if (length > ANSWER_MAX)
        return vst_error_set(ret_err, VST_ERR_AUTH, "saslauthd at %s: an answer of %zu bytes", path,
                             length);
    if (receive(fd, answer, length) < 0)
        return complain(path, "read", ret_err);
    if (strcmp(answer, "OK") == 0 || strncmp(answer, "OK ", 3) == 0)
        return 0;
    return vst_error_set(ret_err, VST_ERR_AUTH, "saslauthd does not take this user and password");
}

int vst_saslauthd_check(const char *path, const char *service, const char *user,
                        const char *password, struct vst_error *ret_err)
{
    struct question question;
    int result = compose(&question, service, user, password, ret_err);
    int fd = result == 0 ? connect_to(path, ret_err) : -1;

    if (fd >= 0) {
        result = ask(fd, path, &question, ret_err);
        close(fd);
    }
    explicit_bzero(&question, sizeof(question));
    return fd >= 0 ? result : -1;
}

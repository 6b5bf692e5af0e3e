/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What went wrong, where, and what to do: the one error type of the library.
 *
 * An error is a value. Callbacks get a `const struct vst_error *` that is NULL on success and is
 * valid until the callback returns; copy the struct to keep it.
 */
#ifndef VIRSTREAM_ERROR_H
#define VIRSTREAM_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Every code with its name (as --json prints it), the exit code of the command for it, and one
 * line of meaning. The numbers of the enum may grow at the end, they never change.
 */
#define VST_CODES(X)                                                                 \
    X(OK, "ok", 0, "no error")                                                       \
    X(INTERNAL, "internal", 1, "a defect of this library")                           \
    X(NO_MEMORY, "no-memory", 1, "out of memory")                                    \
    X(SYSTEM, "system", 1, "a system call failed; `system` is its errno")            \
    X(UNSUPPORTED, "unsupported", 1, "the driver or its version has no such method") \
    X(INVALID, "invalid", 2, "an argument, URI or definition is not valid")          \
    X(CONNECT, "connect", 3, "the connection cannot be made")                        \
    X(LOST, "lost", 3, "the connection was lost")                                    \
    X(AUTH, "auth", 4, "the other side is not who it must be")                       \
    X(ACCESS, "access", 4, "the other side, or the system, does not allow this")     \
    X(NOT_FOUND, "not-found", 5, "no such domain, volume or file")                   \
    X(EXISTS, "exists", 6, "the name is taken")                                      \
    X(STATE, "state", 6, "not possible in the present state")                        \
    X(BUSY, "busy", 6, "another process or operation has hold of it")                \
    X(TIMEOUT, "timeout", 7, "the deadline of the operation passed")                 \
    X(STALLED, "stalled", 7, "no byte moved for the time allowed")                   \
    X(CANCELLED, "cancelled", 8, "cancelled or aborted by the application")          \
    X(DAMAGED, "damaged", 9, "the data is not what was written")                     \
    X(TRUNCATED, "truncated", 9, "the data ends too early")                          \
    X(PROTOCOL, "protocol", 10, "the other side broke the rules of the protocol")    \
    X(DRIVER, "driver", 10, "QEMU, or another driver, refused or failed")            \
    X(INCOMPATIBLE, "incompatible", 11, "a check before the start said no")          \
    X(CLEANUP, "cleanup", 12, "done, but clean-up on the source failed")             \
    X(IN_DOUBT, "in-doubt", 13, "the guest is paused until its owner is known")

enum vst_code {
#define VST_CODE_ENUM(name, text, exit, meaning) VST_ERR_##name,
    VST_CODES(VST_CODE_ENUM)
#undef VST_CODE_ENUM
};

/* Where it happened. */
enum vst_side {
    VST_SIDE_NONE,        /* not tied to one side */
    VST_SIDE_APPLICATION, /* the application's file, socket or callback */
    VST_SIDE_CLIENT,      /* this library, in the process that called it */
    VST_SIDE_HOST,        /* the host that the connection leads to */
    VST_SIDE_SOURCE,      /* the source host of a migration */
    VST_SIDE_DESTINATION, /* the destination host of a migration */
    VST_SIDE_QEMU,        /* the QEMU process */
};

struct vst_error {
    enum vst_code code; /* for the program to branch on */
    int system;         /* errno; or, below 0, the number of the library below, which a host does
                         * not tell another; 0 if none */
    enum vst_side side;
    char phase[28]; /* what was being done: "save", "load", "handshake"; may be empty */
    char text[984]; /* a sentence for people, with the cause; UTF-8, one or more lines */
};

/* The name of a code, as in VST_CODES: "damaged". Never NULL. */
const char *vst_code_name(enum vst_code code);

/* The exit code that the virstream command gives for it (0 to 13). */
int vst_code_exit(enum vst_code code);

/* "client", "qemu", ...; "" for VST_SIDE_NONE. Never NULL. */
const char *vst_side_name(enum vst_side side);

#ifdef __cplusplus
}
#endif

#endif

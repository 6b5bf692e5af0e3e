/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a public method to the driver's: what all of them have in common.
 */
#ifndef VST_CORE_DISPATCH_H
#define VST_CORE_DISPATCH_H

#include "connection.h"
#include "driver.h"

struct vst_domain {
    struct vst_conn *conn;
    char name[64];
    char uuid[37];
};

/* A callback type, erased; NULL means that nobody wants to know. */
#define VST_ERASE(cb)                                                                    \
    ((cb) ? (struct vst_callback){(void (*)(void))(cb)->fn, (cb)->opaque, (cb)->release} \
          : (struct vst_callback){0})

/*
 * The operation of one method, or one that has already failed because the connection is closed or
 * the driver has no such method. *ret_go says whether the driver is to be called.
 */
struct vst_op *vst_dispatch(struct vst_conn *conn, vst_deliver_fn *deliver, struct vst_callback cb,
                            bool has_method, struct vst_stream *stream, bool *ret_go);

/* Calls driver method `method` with the arguments that follow, and the operation. `stream` is NULL
 * for methods that move no bytes. */
#define VST_DISPATCH(conn, method, deliver, cb, stream, ...) \
    VST_DISPATCH_CHECKED(0, NULL, conn, method, deliver, cb, stream, __VA_ARGS__)

/* The same, of arguments that have been looked at: with a `status` of -1 no driver sees them, and
 * the operation has failed with `err`. */
#define VST_DISPATCH_CHECKED(status, err, conn, method, deliver, cb, stream, ...)          \
    do {                                                                                   \
        bool go_;                                                                          \
        struct vst_op *op_ = vst_dispatch((conn), (deliver), VST_ERASE(cb),                \
                                          (conn)->driver->method != NULL, (stream), &go_); \
        if (op_ && go_ && (status) < 0)                                                    \
            vst_op_fail(op_, (err));                                                       \
        else if (op_ && go_)                                                               \
            (conn)->driver->method(__VA_ARGS__, op_);                                      \
        return op_;                                                                        \
    } while (0)

#endif

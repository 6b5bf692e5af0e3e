/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A question to the application, from the side that asks. It belongs to the application from the
 * moment it is asked, and goes with its answer, whether or not somebody still wants to know.
 */
#ifndef VST_CORE_QUESTION_H
#define VST_CORE_QUESTION_H

#include "connection.h"

struct vst_question *vst_question_new(const struct vst_conn *conn, const char *user,
                                      void (*answered)(void *opaque, const char *password),
                                      void *opaque);

/* `answered` is not called any more. Sets *question to NULL. Accepts NULL. */
void vst_question_forget(struct vst_question **question);

#endif

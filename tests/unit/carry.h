/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of the bodies of control frames: a call is printed and read, or refused.
 */
#ifndef VST_TESTS_UNIT_CARRY_H
#define VST_TESTS_UNIT_CARRY_H

#include "remote/message.h"
#include "test.h"

#define UUID "00000000-0000-4000-8000-000000000001"

/* The arguments as they arrive; they are to be cleared. */
union vst_arguments carry_call(enum vst_procedure procedure, const union vst_arguments *arguments);
/* Fails unless the body is no call, and why not is said like that. */
void carry_refuse(const char *body, enum vst_code code, const char *text);

#define REFUSE(procedure, arguments, text)                                          \
    carry_refuse("{\"procedure\":\"" procedure "\",\"arguments\":{" arguments "}}", \
                 VST_ERR_INVALID, text)

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call, printed and read; see carry.h.
 */
#include "carry.h"

#include <stdlib.h>
#include <string.h>

union vst_arguments carry_call(enum vst_procedure procedure, const union vst_arguments *arguments)
{
    struct vst_error err = {0};
    char *body = vst_call_print(procedure, arguments, &err);
    union vst_arguments carried;
    struct vst_call call;

    assert_non_null(body);
    assert_int_equal(vst_call_parse(body, strlen(body), &call, &err), 0);
    assert_int_equal(call.procedure, procedure);
    assert_int_equal(vst_call_get_arguments(&call, &carried, &err), 0);
    vst_call_clear(&call);
    free(body);
    return carried;
}

void carry_refuse(const char *body, enum vst_code code, const char *text)
{
    union vst_arguments arguments;
    struct vst_error err = {0};
    struct vst_call call;

    if (vst_call_parse(body, strlen(body), &call, &err) == 0) {
        assert_int_equal(vst_call_get_arguments(&call, &arguments, &err), -1);
        vst_call_clear(&call);
    }
    assert_int_equal(err.code, code);
    if (!strstr(err.text, text))
        fail_msg("`%s` is not in `%s`", text, err.text);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Definitions: whatever is taken for one is printed, and that is taken for the same.
 */
#include <stdlib.h>
#include <string.h>

#include "core/definition.h"
#include "replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vst_error err = {0};
    struct vst_definition *def = vst_definition_parse((const char *)data, size, &err);
    struct vst_definition *again;
    char *text, *text_again;

    FUZZ_CHECK(!def == vst_error_is_set(&err));
    if (!def)
        return 0;
    text = vst_definition_to_json(def, NULL);
    FUZZ_CHECK(text);
    again = vst_definition_parse(text, strlen(text), &err);
    FUZZ_CHECK(again);
    text_again = vst_definition_to_json(again, NULL);
    FUZZ_CHECK(text_again && strcmp(text, text_again) == 0);
    free(text_again);
    free(text);
    vst_definition_free(&again);
    vst_definition_free(&def);
    return 0;
}

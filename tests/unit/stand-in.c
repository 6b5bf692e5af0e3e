/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The place of a guest as the driver leaves it, with a process in it.
 */
#include "stand-in.h"

#include <string.h>
#include <unistd.h>

#include "drivers/qemu/root.h"
#include "drivers/qemu/spawn.h"
#include "test.h"

void stand_in_make(const char *path, const char *definition, int *ret_pidfd, int *ret_listening)
{
    char *words[] = {(char[]){"sleep"}, (char[]){"600"}, NULL};
    struct vst_spawn how = {.program = "/bin/sleep", .words = words};
    struct vst_definition *def = vst_definition_parse(definition, strlen(definition), NULL);
    struct vst_root *root = NULL;
    struct vst_place *place = NULL;
    struct vst_process_id id;

    assert_non_null(def);
    assert_int_equal(vst_root_open(path, &root, NULL), 0);
    assert_int_equal(vst_place_create(root, def, &place, NULL), 0);
    *ret_listening = vst_place_listen(place, "monitor", NULL);
    how.log_fd = vst_place_new_log(place, NULL);
    how.id_fd = vst_place_new_id(place, NULL);
    assert_int_equal(vst_spawn(&how, &id, ret_pidfd, NULL), 0);
    close(how.log_fd);
    close(how.id_fd);
    vst_place_clear_job(place);
    vst_place_close(&place);
    vst_root_free(&root);
    vst_definition_free(&def);
}

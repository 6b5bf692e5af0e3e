/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of drivers: the one file that knows them all, so that core/ knows none.
 */
#include "core/driver.h"
#include "drivers/qemu/driver.h"
#include "drivers/test/driver.h"
#include "remote/client.h"

const struct vst_driver *const vst_drivers[] = {
    &vst_qemu_driver,
    &vst_test_driver,
    &vst_remote_driver,
    NULL,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of the test driver, for drivers/drivers.c.
 */
#ifndef VST_DRIVERS_TEST_DRIVER_H
#define VST_DRIVERS_TEST_DRIVER_H

#include "core/driver.h"

extern const struct vst_driver vst_test_driver;

#endif

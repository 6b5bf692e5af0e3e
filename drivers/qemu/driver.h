/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The qemu driver, for the list of drivers.
 */
#ifndef VST_DRIVERS_QEMU_DRIVER_H
#define VST_DRIVERS_QEMU_DRIVER_H

#include "core/driver.h"

extern const struct vst_driver vst_qemu_driver;

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the layer has from the exchange.
 */
#ifndef VST_REMOTE_SASL_PRIVATE_H
#define VST_REMOTE_SASL_PRIVATE_H

#include "sasl-login.h"

struct vst_login *vst_sasl_login(struct vst_sasl *sasl);

#endif

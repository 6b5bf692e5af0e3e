/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virstream: asynchronous streams for the state of virtual machines, on a libevent base.
 */
#ifndef VIRSTREAM_H
#define VIRSTREAM_H

#include <virstream/connection.h>
#include <virstream/domain.h>
#include <virstream/error.h>
#include <virstream/image.h>
#include <virstream/io.h>
#include <virstream/layer.h>
#include <virstream/migration.h>
#include <virstream/op.h>
#include <virstream/stream.h>
#include <virstream/trace.h>
#include <virstream/volume.h>

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The limits of a server: one table for the code, the configuration, the shipped file and the
 * manual.
 */
#ifndef VST_REMOTE_LIMITS_H
#define VST_REMOTE_LIMITS_H

#include <stdint.h>

/* member, key in the configuration, least, most, default, the same as text, kind */
#define VST_LIMITS(X)                                                                     \
    X(clients, "clients", 1, 1000000, 10000, "10000", number)                             \
    X(anonymous, "anonymous", 1, 1000000, 1000, "1000", number)                           \
    X(per_source, "per-source", 1, 1000000, 1000, "1000", number)                         \
    X(handshake_seconds, "handshake-seconds", 1, 3600, 10, "10", number)                  \
    X(keepalive_seconds, "keepalive-seconds", 1, 3600, 30, "30", number)                  \
    X(drain_seconds, "drain-seconds", 0, 86400, 60, "60", number)                         \
    X(streams, "streams", 1, 65536, 64, "64", number)                                     \
    X(memory_per_client, "memory-per-client", 65536, 1ull << 40, 64 << 20, "64MiB", size) \
    X(window, "window", 16384, 1 << 30, 256 << 10, "256KiB", size)

struct vst_limits {
#define VST_LIMITS_MEMBER(member, key, least, most, otherwise, text, kind) uint64_t member;
    VST_LIMITS(VST_LIMITS_MEMBER)
#undef VST_LIMITS_MEMBER
};

#define VST_LIMITS_VALUE(member_, key, least, most, otherwise, text, kind) .member_ = (otherwise),
#define VST_LIMITS_DEFAULT           \
    (struct vst_limits)              \
    {                                \
        VST_LIMITS(VST_LIMITS_VALUE) \
    }

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the configuration share: the table's rows, and a reading of one text.
 */
#ifndef VST_REMOTE_DAEMON_CONFIG_PRIVATE_H
#define VST_REMOTE_DAEMON_CONFIG_PRIVATE_H

#include "daemon-config.h"

struct key {
    struct vst_config_key key;
    size_t offset; /* in struct vst_config */
    int (*set)(void *place, const struct key *key, const char *value, struct vst_error *ret_err);
    uint64_t least, most;
};

enum { VST_CONFIG_FAULTS_MAX = 64 };

struct reading {
    struct vst_config *config;
    unsigned line;
    unsigned bare_pool; /* the line that begins a pool, as long as nothing has followed it */
    unsigned faults;    /* not all of which may have been told */
    vst_config_complain *complain;
    void *opaque;
};

/* Complains of the present line. */
void vst_config_tell(struct reading *reading, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line of the text. */
void vst_config_set(struct reading *reading, const char *section, const char *name,
                    const char *value);

/* What is wrong only with all lines together. */
void vst_config_check_whole(struct reading *reading);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pools: directories with a name, and in them the volumes. Which pools a connection has, what a
 * volume may be called, and the methods for every driver whose files are in this process.
 *
 * A name is one part of a path, so it cannot leave its pool, and nothing that a name stands for is
 * followed. A name that begins with a dot is none: temporary files have those.
 */
#ifndef VST_CORE_POOL_H
#define VST_CORE_POOL_H

#include <sys/queue.h>

#include "driver.h"
#include "worker.h"

struct vst_volume_pool {
    STAILQ_ENTRY(vst_volume_pool) next;
    char *name;
    char *dir;
    bool tidy; /* what a process left that was killed here has been removed */
};

STAILQ_HEAD(vst_volume_pools, vst_volume_pool);

/* Part of a driver's check(). */
int vst_pools_check(const struct vst_uri *uri, struct vst_error *ret_err);
/* Part of a driver's open(): the pools that the URI names, "pool.NAME=DIR". */
int vst_pools_open(struct vst_conn *conn, struct vst_error *ret_err);
/* Sets *pools to NULL. Accepts NULL. For connection.c. */
void vst_pools_free(struct vst_volume_pools **pools);

/* The error names those that there are. */
struct vst_volume_pool *vst_pools_find(struct vst_volume_pools *pools, const char *name,
                                       struct vst_error *ret_err);
/* Of "POOL/NAME": the pool, and NAME, which is part of `volume`. */
struct vst_volume_pool *vst_pools_split(struct vst_volume_pools *pools, const char *volume,
                                        const char **ret_name, struct vst_error *ret_err);

/* Whether a volume may have this name. */
bool vst_volume_name_fits(const char *name);
/* The same of "POOL/NAME". */
bool vst_volume_fits(const char *volume);

/* What the options say, as one number: no volume is so long, and none is said. */
#define VST_LENGTH_MOST (UINT64_MAX - 1)
#define VST_LENGTH_NONE UINT64_MAX
static inline uint64_t vst_volume_length(bool has_length, uint64_t length)
{
    if (!has_length)
        return VST_LENGTH_NONE;
    return length < VST_LENGTH_MOST ? length : VST_LENGTH_MOST;
}

/* The methods: pool-methods.c. */
void vst_pool_list(struct vst_conn *conn, const char *pool, struct vst_op *op);
void vst_pool_upload(struct vst_conn *conn, const char *volume, struct vst_stream *stream,
                     const struct vst_volume_upload_options *opt, struct vst_op *op);
void vst_pool_download(struct vst_conn *conn, const char *volume, struct vst_stream *stream,
                       const struct vst_volume_download_options *opt, struct vst_op *op);
void vst_pool_delete(struct vst_conn *conn, const char *volume, struct vst_op *op);

/* ---- what threads do: pool-work.c ---- */

struct vst_file_calls;

/* One pool to look at, copied: a job may outlive its connection. */
struct vst_pool_place {
    char *name;
    char *dir;
    bool tidies; /* removes what was left, and then is false */
};

struct vst_pool_work {
    struct vst_job job;
    int (*step)(struct vst_pool_work *work); /* -1 with `error` */
    void *call;                              /* the loop's */
    const struct vst_file_calls *calls;
    struct vst_pool_place *places;
    size_t place_count;
    bool all;        /* pools: that one fails is part of the list */
    char *name;      /* of the volume; NULL for a list */
    uint64_t offset; /* where in it to begin */
    uint64_t length; /* how much to read; VST_LENGTH_NONE becomes what there is */
    /* What came of it. */
    int dir;       /* of the first place, while it is needed; -1 */
    int fd;        /* of the volume, at the offset; -1 */
    uint64_t size; /* of the volume */
    struct vst_volume_info *infos;
    size_t info_count;
    struct vst_error error;
};

/* `pool` NULL: all of them. The job is ready to be submitted but for its functions. */
struct vst_pool_work *vst_pool_work_new(struct vst_volume_pools *pools,
                                        const struct vst_volume_pool *pool, const char *name,
                                        struct vst_error *ret_err);
void vst_pool_work_free(struct vst_pool_work *work);

/* Steps. */
int vst_pool_work_list(struct vst_pool_work *work);    /* `infos`, sorted */
int vst_pool_work_read(struct vst_pool_work *work);    /* `fd`, `size`; no writer in place */
int vst_pool_work_write(struct vst_pool_work *work);   /* that and `dir`; nobody else in place */
int vst_pool_work_prepare(struct vst_pool_work *work); /* there is place for a volume */
int vst_pool_work_delete(struct vst_pool_work *work);

#endif

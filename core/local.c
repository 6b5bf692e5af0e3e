/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the drivers of this process answer where one that is remote asks its server.
 */
#include "driver.h"
#include "json.h"

#include <json-c/json.h>

struct local_stats {
    char *uri;
    char *driver;
};

static const struct vst_json_member members[] = {
    {"uri", VST_JSON_STRING, .offset = offsetof(struct local_stats, uri)},
    {"driver", VST_JSON_STRING, .offset = offsetof(struct local_stats, driver)},
};

static const struct vst_json_table table = {VST_JSON_TABLE(members, local_stats)};

void vst_local_ping(struct vst_conn *conn, struct vst_op *op)
{
    (void)conn;
    vst_driver_ping(op, 0);
}

void vst_local_get_stats(struct vst_conn *conn, struct vst_op *op)
{
    struct local_stats stats = {conn->uri->text, conn->uri->driver};
    struct json_object *object = vst_json_encode(&table, &stats, NULL);

    vst_driver_stats(op, object ? vst_json_print(object, NULL) : NULL);
    json_object_put(object);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bound on the connections of an HTTP server of libevent, which has none itself: so many at once,
 * and each for so long, whatever it does meanwhile. Those above the number wait in the kernel, and
 * cost no descriptor.
 */
#ifndef VST_REMOTE_HTTP_CROWD_H
#define VST_REMOTE_HTTP_CROWD_H

#include <event2/http.h>

struct vst_http_crowd;

/* Before the first connection; NULL without memory. `bound` is the one socket that `http` has. */
struct vst_http_crowd *vst_http_crowd_new(struct event_base *base, struct evhttp *http,
                                          struct evhttp_bound_socket *bound, unsigned most,
                                          unsigned seconds);

/* Before evhttp_free(): the connections end with that. Sets *crowd to NULL. Accepts NULL. */
void vst_http_crowd_free(struct vst_http_crowd **crowd);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * endpoint: from the picked row to the pod it names.
 * Upstream: Kmesh bpf/kmesh/workload/include/endpoint.h.
 */
#ifndef KL_ENDPOINT_H
#define KL_ENDPOINT_H

#include "backend.h"

static __always_inline int endpoint_manager(struct kmesh_context *kctx,
					    struct endpoint_value *endpoint,
					    struct service_value *service)
{
	struct backend_key key = { .backend_uid = endpoint->backend_uid };
	struct backend_value *backend = backend_lookup(&key);

	if (!backend) {
		trace_lookup(kctx->cookie, KL_BACKEND, key.backend_uid, 0, -ENOENT);
		return -ENOENT;
	}
	trace_address(kctx->cookie, KL_BACKEND, kctx->ctx->user_family, &backend->wp_addr,
		      backend->waypoint_port, key.backend_uid, 0);
	return backend_manager(kctx, backend, service);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * frontend: which service, or which pod, is behind the address that a client asked for?
 * Upstream: Kmesh bpf/kmesh/workload/include/frontend.h.
 */
#ifndef KL_FRONTEND_H
#define KL_FRONTEND_H

#include "service.h"

/* 0: go on with kctx->dnat; negative: leave the connection alone. */
static __always_inline int frontend_manager(struct kmesh_context *kctx,
					    struct frontend_value *frontend)
{
	struct service_key service_k = { .service_id = frontend->upstream_id };
	struct backend_key backend_k = { .backend_uid = frontend->upstream_id };
	struct service_value *service = service_lookup(&service_k);
	struct backend_value *backend;

	if (service)
		return service_manager(kctx, frontend->upstream_id, service);
	trace_lookup(kctx->cookie, KL_SERVICE, frontend->upstream_id, 0, -ENOENT);

	/* Not a service, so the client addresses a pod: only a waypoint can change the destination. */
	backend = backend_lookup(&backend_k);
	if (!backend) {
		trace_lookup(kctx->cookie, KL_BACKEND, frontend->upstream_id, 0, -ENOENT);
		return -ENOENT;
	}
	trace_address(kctx->cookie, KL_BACKEND, kctx->ctx->user_family, &backend->wp_addr,
		      backend->waypoint_port, frontend->upstream_id, 0);
	if (backend->waypoint_port)
		return waypoint_manager(kctx, &backend->wp_addr, backend->waypoint_port);
	return 0;
}

static __always_inline struct frontend_value *frontend_find(struct kmesh_context *kctx)
{
	struct frontend_key key = { 0 };
	struct frontend_value *frontend;

	if (kctx->ctx->user_family == AF_INET)
		key.addr.ip4 = kctx->orig_dst.ip4;
	else if (is_ipv4_mapped(kctx->orig_dst.ip6))
		key.addr.ip4 = kctx->orig_dst.ip6[3]; /* a mapped address is stored as the IPv4 one */
	else
		key.addr = kctx->orig_dst;

	frontend = frontend_lookup(&key);
	trace_lookup(kctx->cookie, KL_FRONTEND, 0, frontend ? frontend->upstream_id : 0,
		     frontend ? 0 : -ENOENT);
	return frontend;
}

#endif

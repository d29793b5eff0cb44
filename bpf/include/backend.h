/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * backend: the pod's address and the port it listens on, or the waypoint in front of it.
 * Upstream: Kmesh bpf/kmesh/workload/include/backend.h.
 */
#ifndef KL_BACKEND_H
#define KL_BACKEND_H

#include "context.h"

/* Always 0. The waypoint is usually a service itself: the program starts again with it as destination. */
static __always_inline int waypoint_manager(struct kmesh_context *kctx, union ip_addr *wp_addr,
					    __u32 port)
{
	if (kctx->ctx->user_family == AF_INET)
		kctx->dnat_ip.ip4 = wp_addr->ip4;
	else
		kctx->dnat_ip = *wp_addr;
	kctx->dnat_port = port;
	kctx->via_waypoint = true;
	trace_address(kctx->cookie, KL_WAYPOINT, kctx->ctx->user_family, wp_addr, port, 0, 0);
	return 0;
}

/* The first slot whose service port is the one asked for. Unused slots hold 0, so port 0 finds one. */
static __always_inline int svc_dnat(struct kmesh_context *kctx, struct backend_value *backend,
				    struct service_value *service)
{
	__u32 user_port = kctx->ctx->user_port;

	for (int slot = 0; slot < MAX_PORT_COUNT; slot++) {
		if (service->service_port[slot] != user_port)
			continue;
		if (kctx->ctx->user_family == AF_INET)
			kctx->dnat_ip.ip4 = backend->addr.ip4;
		else
			kctx->dnat_ip = backend->addr;
		kctx->dnat_port = service->target_port[slot];
		kctx->via_waypoint = false;
		trace_address(kctx->cookie, KL_DNAT, kctx->ctx->user_family, &backend->addr,
			      kctx->dnat_port, slot, 0);
		return 0;
	}
	trace_lookup(kctx->cookie, KL_DNAT, 0, 0, -ENOENT);
	return -ENOENT;
}

static __always_inline int backend_manager(struct kmesh_context *kctx, struct backend_value *backend,
					   struct service_value *service)
{
	if (backend->waypoint_port)
		return waypoint_manager(kctx, &backend->wp_addr, backend->waypoint_port);
	return svc_dnat(kctx, backend, service);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * service: which endpoint of the service does this connection get?
 *
 * None of the policies tries again: if the picked row is missing, the destination stays as it is.
 * Upstream: Kmesh bpf/kmesh/workload/include/service.h.
 */
#ifndef KL_SERVICE_H
#define KL_SERVICE_H

#include "endpoint.h"

/* RANDOM: locality does not matter, everything is stored at priority 0. */
static __always_inline int lb_random_handle(struct service_value *service)
{
	return 0;
}

/* STRICT: only endpoints that match the whole routing preference. Without one nothing is blocked: see above. */
static __always_inline int lb_locality_strict_handle(struct service_value *service)
{
	return service->prio_endpoint_count[0] ? 0 : -ENOENT;
}

/* FAILOVER: the best priority that has an endpoint at all. */
static __always_inline int lb_locality_failover_handle(struct service_value *service)
{
	for (int prio = 0; prio < PRIO_COUNT; prio++) {
		if (service->prio_endpoint_count[prio])
			return prio;
	}
	return -ENOENT;
}

/* The priority to take an endpoint from, or a negative errno. */
static __always_inline int lb_priority(struct service_value *service)
{
	switch (service->lb_policy) {
	case LB_POLICY_RANDOM:
		return lb_random_handle(service);
	case LB_POLICY_STRICT:
		return lb_locality_strict_handle(service);
	case LB_POLICY_FAILOVER:
		return lb_locality_failover_handle(service);
	}
	return -EINVAL;
}

/* Any endpoint of one priority, each with the same chance. */
static __always_inline int lb_pick(struct kmesh_context *kctx, __u32 service_id,
				   struct service_value *service, __u32 prio)
{
	struct endpoint_key key = { .service_id = service_id, .prio = prio };
	struct endpoint_value *endpoint;
	__u32 count;

	if (prio >= PRIO_COUNT) /* never; the verifier wants to know before it allows the index */
		return -EINVAL;
	count = service->prio_endpoint_count[prio];
	/* Only RANDOM gets here. Kmesh calls it success: the destination stays, and is remembered as original. */
	if (count == 0)
		return 0;
	key.backend_index = bpf_get_prandom_u32() % count + 1; /* rows count from 1 */

	endpoint = endpoint_lookup(&key);
	if (!endpoint) {
		trace_endpoint(kctx->cookie, &key, 0, -ENOENT);
		return -ENOENT;
	}
	trace_endpoint(kctx->cookie, &key, endpoint->backend_uid, 0);
	return endpoint_manager(kctx, endpoint, service);
}

static __always_inline int service_manager(struct kmesh_context *kctx, __u32 service_id,
					   struct service_value *service)
{
	int prio;

	trace_lookup(kctx->cookie, KL_SERVICE, service_id, service->lb_policy, 0);

	/* The waypoint does the load balancing. Kmesh looks at 4 address bytes only, so ::1:2:3 counts as none. */
	if (service->wp_addr.ip4 != 0 && service->waypoint_port != 0)
		return waypoint_manager(kctx, &service->wp_addr, service->waypoint_port);

	prio = lb_priority(service);
	if (prio < 0)
		return prio;
	return lb_pick(kctx, service_id, service, prio);
}

#endif

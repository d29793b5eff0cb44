/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What one run of a connect hook carries from manager to manager.
 * Upstream: Kmesh bpf/kmesh/workload/include/ctx/sock_addr.h.
 */
#ifndef KL_CONTEXT_H
#define KL_CONTEXT_H

#include "trace.h"

struct kmesh_context {
	struct bpf_sock_addr *ctx;
	__u64 cookie;		/* of the socket; 0 without the trace */
	union ip_addr orig_dst; /* where the client wants to go */
	union ip_addr dnat_ip;	/* where the managers send it */
	__u32 dnat_port;	/* PORT */
	bool via_waypoint;
};

/* An IPv6 address in a context or a socket. volatile: the verifier allows 4 bytes at a time, clang would read 8. */
static __always_inline void read_ip6(__u32 to[4], volatile __u32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* ::ffff:a.b.c.d */
static __always_inline bool is_ipv4_mapped(const __u32 ip6[4])
{
	return ip6[0] == 0 && ip6[1] == 0 && ip6[2] == bpf_htonl(0xffff);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * km_manage: who is in the mesh, and the control addresses that change it.
 *
 * A pod is enrolled by one connect() from inside it to 0.0.0.2:929 (or [::2]:929), and taken out by port 930. That is
 * what Kmesh's CNI plugin does. The connect hook writes the row of the network namespace, sockops the row of the
 * address. No privilege is asked for: any process of the pod can do it (Kmesh does not ask either).
 * Upstream: Kmesh bpf/include/bpf_common.h.
 */
#ifndef KL_MANAGE_H
#define KL_MANAGE_H

#include "context.h"

#define CONTROL_PORT_ENABLE 929	 /* 0x3a1 */
#define CONTROL_PORT_DISABLE 930 /* 0x3a2 */

static __always_inline bool is_control_ip4(__u32 ip4)
{
	return ip4 == bpf_htonl(2);
}

static __always_inline bool is_control_ip6(__u32 w0, __u32 w1, __u32 w2, __u32 w3)
{
	return w0 == 0 && w1 == 0 && w2 == 0 && w3 == bpf_htonl(2);
}

/* Adds or deletes a row, as the port says: 0 or a negative errno. 1: it is no control port. port is HOST. */
static __always_inline int manage_by_port(union manager_key *key, __u32 port)
{
	if (port == CONTROL_PORT_ENABLE)
		return manage_add(key);
	if (port == CONTROL_PORT_DISABLE)
		return manage_delete(key);
	return 1;
}

/* The row of a network namespace: the low 8 bytes hold its cookie. */
static __always_inline void netns_key(struct bpf_sock_addr *ctx, union manager_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns_cookie = bpf_get_netns_cookie(ctx);
}

/* By the socket's family: an AF_INET6 socket that sends to ::ffff:0.0.0.2 runs the IPv4 hook, and commands nothing. */
static __always_inline bool is_control_address(struct kmesh_context *kctx)
{
	const __u32 *ip6 = kctx->orig_dst.ip6;

	if (kctx->ctx->family == AF_INET)
		return is_control_ip4(kctx->orig_dst.ip4);
	return is_control_ip6(ip6[0], ip6[1], ip6[2], ip6[3]);
}

/* True: this connect() or sendto() was a command, not traffic. The kernel goes on with it; nobody answers. */
static __always_inline bool handle_kmesh_manage_process(struct kmesh_context *kctx)
{
	__u32 port = bpf_ntohs(kctx->ctx->user_port);
	union manager_key key;
	int ret;

	if (!is_control_address(kctx))
		return false;
	netns_key(kctx->ctx, &key);
	ret = manage_by_port(&key, port);
	if (ret > 0)
		return false;
	trace_lookup(kctx->cookie, KL_CONTROL, 0, port == CONTROL_PORT_ENABLE, ret);
	return true;
}

/* By network namespace: the row must exist, its value does not matter. */
static __always_inline bool is_kmesh_enabled(struct kmesh_context *kctx)
{
	union manager_key key;

	netns_key(kctx->ctx, &key);
	if (manage_lookup(&key))
		return true;
	trace_lookup(kctx->cookie, KL_NOT_MANAGED, 0, 0, 0);
	return false;
}

/* By address: the row must exist and hold 0. The key is one of manage_addr_key(). */
static __always_inline bool is_managed_by_kmesh(union manager_key *key)
{
	__u32 *value = manage_lookup(key);

	return value && *value == 0;
}

/* The row of an address: an IPv4-mapped one counts as IPv4. */
static __always_inline void manage_addr_key(union manager_key *key, __u32 family, __u32 ip4,
					    const __u32 ip6[4])
{
	__builtin_memset(key, 0, sizeof(*key));
	if (family == AF_INET)
		key->addr.ip4 = ip4;
	else if (is_ipv4_mapped(ip6))
		key->addr.ip4 = ip6[3];
	else
		__builtin_memcpy(key->addr.ip6, ip6, sizeof(key->addr.ip6));
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision trace (ours, not Kmesh's): each manager says what it looked up and what it found.
 *
 * Compiled in only with -DKL_TRACE; without it the functions below are empty and no instruction is left.
 * A step carries the socket cookie, so user space can fold the steps of one connection into one story, and the line of
 * C that reported it, so user space can show that line.
 */
#ifndef KL_TRACE_H
#define KL_TRACE_H

#include "maps.h"

/* kl_step.step. For each: what id, found, addr and port mean. */
enum kl_step_kind {
	KL_CONNECT = 1,	     /* the hook was called. addr, port: the destination; id: protocol; */
			     /* netns: the cookie of the pod's network namespace */
	KL_NOT_MANAGED = 2,  /* the network namespace is not in km_manage: nothing is done */
	KL_CONTROL = 3,	     /* a control address: the namespace (id 0) or the address (id 1) */
			     /* is to be added (found 1) or removed (found 0) */
	KL_DNS = 4,	     /* port 53. addr: the DNS proxy; ret -ENOENT: there is none */
	KL_NOT_TCP = 5,	     /* another protocol than TCP: nothing is done. id: the protocol */
	KL_FRONTEND = 6,     /* km_frontend. found: upstream_id */
	KL_SERVICE = 7,	     /* km_service. id: service_id; found: lb_policy; -ENOENT: none */
	KL_ENDPOINT = 8,     /* km_endpoint. id, prio, index: the key; found: backend_uid */
	KL_BACKEND = 9,	     /* km_backend. id: backend_uid; addr, port: its waypoint */
	KL_WAYPOINT = 10,    /* the connection goes to a waypoint. addr, port: where */
	KL_DNAT = 11,	     /* the port was translated. addr, port: the pod, its port; id: slot */
	KL_VERDICT = 12,     /* the hook is done. addr, port: the new destination; ret: why not */
	KL_TAIL_CALL = 13,   /* the program starts again with the waypoint as destination */
	KL_ESTABLISHED = 14, /* sockops: connected. found: INBOUND or OUTBOUND */
	KL_SOCKHASH = 15,    /* sockops: the socket was put into km_socket */
	KL_TLV = 16,	     /* sk_msg: TLV or PROXY header pushed. addr, port: in it; id: bytes; */
			     /* ret -ENOENT: it could not be pushed */
	KL_CLOSED = 17,	     /* sockops: the connection is over */
};

#ifdef KL_TRACE

static __always_inline struct kl_step *trace_begin(__u64 cookie, __u32 kind, __u32 line, int ret)
{
	struct kl_step *step = trace_reserve();
	struct kl_lost *lost;

	if (!step) {
		lost = lost_counters();
		if (lost)
			__sync_fetch_and_add(&lost->trace, 1);
		return NULL;
	}
	__builtin_memset(step, 0, sizeof(*step));
	step->ktime_ns = bpf_ktime_get_ns();
	step->cookie = cookie;
	step->step = kind;
	step->line = line;
	step->ret = ret;
	return step;
}

static __always_inline void trace_lookup_at(__u32 line, __u64 cookie, __u32 kind, __u32 id,
					    __u32 found, int ret)
{
	struct kl_step *step = trace_begin(cookie, kind, line, ret);

	if (!step)
		return;
	step->id = id;
	step->found = found;
	trace_submit(step);
}

static __always_inline void trace_endpoint_at(__u32 line, __u64 cookie,
					      const struct endpoint_key *key, __u32 uid, int ret)
{
	struct kl_step *step = trace_begin(cookie, KL_ENDPOINT, line, ret);

	if (!step)
		return;
	step->id = key->service_id;
	step->prio = key->prio;
	step->index = key->backend_index;
	step->found = uid;
	trace_submit(step);
}

static __always_inline void trace_set_address(struct kl_step *step, __u32 family,
					      const union ip_addr *addr, __u32 port)
{
	step->family = family;
	if (family == AF_INET)
		step->addr[0] = addr->ip4;
	else
		__builtin_memcpy(step->addr, addr->ip6, sizeof(step->addr));
	step->port = port;
}

static __always_inline void trace_address_at(__u32 line, __u64 cookie, __u32 kind, __u32 family,
					     const union ip_addr *addr, __u32 port, __u32 id, int ret)
{
	struct kl_step *step = trace_begin(cookie, kind, line, ret);

	if (!step)
		return;
	step->id = id;
	trace_set_address(step, family, addr, port);
	trace_submit(step);
}

/* A connect begins: the network namespace of ctx says whose, as in km_manage. */
static __always_inline void trace_connect_at(__u32 line, __u64 cookie, __u32 kind, __u32 family,
					     const union ip_addr *addr, __u32 port, __u32 id,
					     struct bpf_sock_addr *ctx)
{
	struct kl_step *step = trace_begin(cookie, kind, line, 0);

	if (!step)
		return;
	step->id = id;
	step->netns = bpf_get_netns_cookie(ctx);
	trace_set_address(step, family, addr, port);
	trace_submit(step);
}

/* The socket's cookie, kept in socket storage too: sk_msg programs have no helper to ask for it. */
static __always_inline __u64 trace_cookie(void *ctx, struct bpf_sock *sk)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	__u64 *kept = sk ? cookie_storage(sk) : NULL;

	if (kept)
		*kept = cookie;
	return cookie;
}

static __always_inline __u64 trace_kept_cookie(struct bpf_sock *sk)
{
	__u64 *kept = cookie_storage(sk);

	return kept ? *kept : 0;
}

#else

static __always_inline void trace_lookup_at(__u32 line, __u64 cookie, __u32 kind, __u32 id,
					    __u32 found, int ret)
{
}

static __always_inline void trace_endpoint_at(__u32 line, __u64 cookie,
					      const struct endpoint_key *key, __u32 uid, int ret)
{
}

static __always_inline void trace_address_at(__u32 line, __u64 cookie, __u32 kind, __u32 family,
					     const union ip_addr *addr, __u32 port, __u32 id, int ret)
{
}

static __always_inline void trace_connect_at(__u32 line, __u64 cookie, __u32 kind, __u32 family,
					     const union ip_addr *addr, __u32 port, __u32 id,
					     struct bpf_sock_addr *ctx)
{
}

static __always_inline __u64 trace_cookie(void *ctx, struct bpf_sock *sk)
{
	return 0;
}

static __always_inline __u64 trace_kept_cookie(struct bpf_sock *sk)
{
	return 0;
}

#endif

/* The line is the caller's: that is the only reason why these are macros. */
#define trace_lookup(...) trace_lookup_at(__LINE__, __VA_ARGS__)
#define trace_endpoint(...) trace_endpoint_at(__LINE__, __VA_ARGS__)
#define trace_address(...) trace_address_at(__LINE__, __VA_ARGS__)
#define trace_connect(...) trace_connect_at(__LINE__, __VA_ARGS__)

#endif

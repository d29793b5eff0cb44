/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * probe: what km_tcp_probe says about a connection.
 *
 * The connect hook starts the clock, sockops reports establishment and close, cgroup_skb reports in between.
 * Upstream: Kmesh bpf/kmesh/probes/probe.h, tcp_probe.h.
 */
#ifndef KL_PROBE_H
#define KL_PROBE_H

#include "manage.h"

#define LONG_CONN_THRESHOLD_NS (5 * 1000000000ULL)

static __always_inline bool is_monitoring_enabled(void)
{
	struct kl_config *config = node_config();

	return config && !config->monitoring_off;
}

static __always_inline bool is_periodic_report_enabled(void)
{
	struct kl_config *config = node_config();

	return config && !config->monitoring_off && config->periodic_report;
}

static __always_inline void swap_sides(struct bpf_sock_tuple *tuple, __u32 family)
{
	struct bpf_sock_tuple seen = *tuple;

	if (family == AF_INET) {
		tuple->ipv4.saddr = seen.ipv4.daddr;
		tuple->ipv4.daddr = seen.ipv4.saddr;
		tuple->ipv4.sport = seen.ipv4.dport;
		tuple->ipv4.dport = seen.ipv4.sport;
		return;
	}
	__builtin_memcpy(tuple->ipv6.saddr, seen.ipv6.daddr, sizeof(seen.ipv6.daddr));
	__builtin_memcpy(tuple->ipv6.daddr, seen.ipv6.saddr, sizeof(seen.ipv6.saddr));
	tuple->ipv6.sport = seen.ipv6.dport;
	tuple->ipv6.dport = seen.ipv6.sport;
}

/* Source = client, addresses NET, ports HOST. With DIRECTION_INVALID the tuple stays as the ring buffer had it. */
static __always_inline void construct_tuple(struct bpf_sock *sk, struct bpf_sock_tuple *tuple,
					    __u8 direction)
{
	if (direction != OUTBOUND && direction != INBOUND)
		return;
	if (sk->family == AF_INET) {
		tuple->ipv4.saddr = sk->src_ip4;
		tuple->ipv4.daddr = sk->dst_ip4;
		tuple->ipv4.sport = sk->src_port;
		tuple->ipv4.dport = bpf_ntohs(sk->dst_port);
	} else {
		read_ip6(tuple->ipv6.saddr, sk->src_ip6);
		read_ip6(tuple->ipv6.daddr, sk->dst_ip6);
		tuple->ipv6.sport = sk->src_port;
		tuple->ipv6.dport = bpf_ntohs(sk->dst_port);
	}
	if (direction == INBOUND)
		swap_sides(tuple, sk->family);
}

/* Where the client wanted to go, as the connect hook kept it. Nobody knows on the accepting side. */
static __always_inline void construct_orig_dst(struct bpf_sock *sk, struct orig_dst_info *orig_dst,
					       struct sock_storage_data *storage)
{
	if (storage->direction != OUTBOUND)
		__builtin_memset(orig_dst, 0, sizeof(*orig_dst));
	else if (sk->family == AF_INET) {
		orig_dst->ipv4.addr = storage->sk_tuple.ipv4.daddr;
		orig_dst->ipv4.port = bpf_ntohs(storage->sk_tuple.ipv4.dport);
	} else {
		__builtin_memcpy(orig_dst->ipv6.addr, storage->sk_tuple.ipv6.daddr,
				 sizeof(orig_dst->ipv6.addr));
		orig_dst->ipv6.port = bpf_ntohs(storage->sk_tuple.ipv6.dport);
	}
}

/* An IPv4 connection of an AF_INET6 socket is told as IPv4. */
static __always_inline void tuple_to_ipv4(struct bpf_sock_tuple *tuple)
{
	__u32 saddr = tuple->ipv6.saddr[3], daddr = tuple->ipv6.daddr[3];
	__u16 sport = tuple->ipv6.sport, dport = tuple->ipv6.dport;

	tuple->ipv4.saddr = saddr;
	tuple->ipv4.daddr = daddr;
	tuple->ipv4.sport = sport;
	tuple->ipv4.dport = dport;
}

static __always_inline void orig_dst_to_ipv4(struct orig_dst_info *orig_dst)
{
	__u32 addr = orig_dst->ipv6.addr[3];
	__u16 port = orig_dst->ipv6.port;

	orig_dst->ipv4.addr = addr;
	orig_dst->ipv4.port = port;
}

static __always_inline void tcp_report(struct bpf_sock *sk, struct bpf_tcp_sock *tcp_sk,
				       struct sock_storage_data *storage, __u32 state)
{
	struct tcp_probe_info *info = tcp_probe_reserve();

	if (!info) {
		struct kl_lost *lost = lost_counters();

		if (lost)
			__sync_fetch_and_add(&lost->tcp_probe, 1);
		return;
	}
	construct_tuple(sk, &info->tuple, storage->direction);
	construct_orig_dst(sk, &info->orig_dst, storage);
	info->type = sk->family == AF_INET ? RECORD_IPV4 : RECORD_IPV6;
	if (info->type == RECORD_IPV6 && is_ipv4_mapped(info->tuple.ipv6.saddr) &&
	    is_ipv4_mapped(info->tuple.ipv6.daddr)) {
		info->type = RECORD_IPV4;
		tuple_to_ipv4(&info->tuple);
		orig_dst_to_ipv4(&info->orig_dst);
	}
	info->sent_bytes = tcp_sk->bytes_acked;
	info->received_bytes = tcp_sk->bytes_received;
	info->conn_success = storage->connect_success;
	info->direction = storage->direction;
	info->state = state;
	storage->last_report_ns = bpf_ktime_get_ns();
	info->start_ns = storage->connect_ns;
	info->last_report_ns = storage->last_report_ns;
	info->duration = info->last_report_ns - info->start_ns;
	info->srtt_us = tcp_sk->srtt_us;
	info->rtt_min = tcp_sk->rtt_min;
	info->total_retrans = tcp_sk->total_retrans;
	info->lost_out = tcp_sk->lost_out;
	tcp_probe_submit(info);
}

/* connect(2) of a managed socket. Done even with monitoring off. */
static __always_inline void observe_on_pre_connect(struct bpf_sock *sk)
{
	struct sock_storage_data *storage = sock_storage_create(sk);

	if (storage)
		storage->connect_ns = bpf_ktime_get_ns();
}

static __always_inline void observe_on_connect_established(struct bpf_sock *sk, __u8 direction)
{
	struct bpf_tcp_sock *tcp_sk = bpf_tcp_sock(sk);
	struct sock_storage_data *storage;

	if (!tcp_sk)
		return;
	/* The connecting side has its storage since connect(); the accepting side begins here. */
	storage = direction == INBOUND ? sock_storage_create(sk) : sock_storage_lookup(sk);
	if (!storage)
		return;
	if (direction == INBOUND)
		storage->connect_ns = bpf_ktime_get_ns();
	storage->direction = direction;
	storage->connect_success = true;
	tcp_report(sk, tcp_sk, storage, BPF_TCP_ESTABLISHED);
}

static __always_inline void observe_on_close(struct bpf_sock *sk)
{
	struct bpf_tcp_sock *tcp_sk = bpf_tcp_sock(sk);
	struct sock_storage_data *storage = tcp_sk ? sock_storage_lookup(sk) : NULL;

	if (storage)
		tcp_report(sk, tcp_sk, storage, BPF_TCP_CLOSE);
}

/* Every packet asks; a connection answers at most once in five seconds. */
static __always_inline void observe_on_data(struct bpf_sock *sk)
{
	struct bpf_tcp_sock *tcp_sk = bpf_tcp_sock(sk);
	struct sock_storage_data *storage = tcp_sk ? sock_storage_lookup(sk) : NULL;

	if (!storage || !storage->last_report_ns)
		return;
	if (bpf_ktime_get_ns() - storage->last_report_ns > LONG_CONN_THRESHOLD_NS)
		tcp_report(sk, tcp_sk, storage, BPF_TCP_ESTABLISHED);
}

#endif

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sockops: what happens to a TCP connection between connect() and close().
 *
 * Hook:    cgroup sockops, for every TCP socket of the node.
 * When:    at connect, when established (either side), and, once asked for, at every change of the TCP state.
 * Reads:   km_manage by local address, km_sockstorage, kl_config.
 * Writes:  km_manage (control addresses), km_socket (to a waypoint), km_sockstorage, km_tcp_probe, km_auth_req, km_auth_res.
 * Returns: always 0. These callbacks ignore it; where the kernel asks for a value (timeout, window), 0 leaves it its own.
 * Upstream: Kmesh bpf/kmesh/workload/sockops.c. Kernel: 5.13.
 */
#include "include/maps.h"
#include "include/manage.h"
#include "include/probe.h"

/* The field holds the port in network order in its upper half (on a little-endian CPU). NET. */
static __always_inline __u16 remote_port(struct bpf_sock_ops *skops)
{
	return bpf_htons(bpf_ntohl(skops->remote_port));
}

static __always_inline void local_addr_key(struct bpf_sock_ops *skops, union manager_key *key)
{
	__u32 ip6[4];

	read_ip6(ip6, skops->local_ip6);
	manage_addr_key(key, skops->family, skops->local_ip4, ip6);
}

static __always_inline bool is_managed(struct bpf_sock_ops *skops)
{
	union manager_key key;

	local_addr_key(skops, &key);
	return is_managed_by_kmesh(&key);
}

/* The row of the local address: the connect hook, which runs before the kernel picks one, could not write it. */
static __always_inline void skops_handle_kmesh_managed_process(struct bpf_sock_ops *skops,
							       struct bpf_sock *sk)
{
	__u32 port = bpf_ntohs(remote_port(skops));
	union manager_key key;
	int ret;

	if (skops->family == AF_INET ? !is_control_ip4(skops->remote_ip4) :
				       !is_control_ip6(skops->remote_ip6[0], skops->remote_ip6[1],
						       skops->remote_ip6[2], skops->remote_ip6[3]))
		return;
	local_addr_key(skops, &key);
	ret = manage_by_port(&key, port);
	if (ret <= 0)
		trace_lookup(trace_cookie(skops, sk), KL_CONTROL, 1, port == CONTROL_PORT_ENABLE,
			     ret);
}

static __always_inline bool is_same_ip6(const __u32 a[4], const __u32 b[4])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* The kubelet checks the health of a pod: not traffic of the mesh. */
static __always_inline bool is_probe(struct bpf_sock_ops *skops)
{
	struct kl_config *config = node_config();
	__u32 ip6[4];

	if (!config)
		return false;
	if (skops->family == AF_INET)
		return skops->remote_ip4 == config->node_ip[3] ||
		       skops->remote_ip4 == config->pod_gateway[3];
	read_ip6(ip6, skops->remote_ip6);
	return is_same_ip6(ip6, config->node_ip) || is_same_ip6(ip6, config->pod_gateway);
}

/* Local side first, everything NET. The kernel never looks a socket up by this key: people and tools do. */
static __always_inline void socket_key(struct bpf_sock_ops *skops, struct bpf_sock_tuple *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	if (skops->family == AF_INET) {
		key->ipv4.saddr = skops->local_ip4;
		key->ipv4.daddr = skops->remote_ip4;
		key->ipv4.sport = bpf_htons(skops->local_port);
		key->ipv4.dport = remote_port(skops);
		return;
	}
	read_ip6(key->ipv6.saddr, skops->local_ip6);
	read_ip6(key->ipv6.daddr, skops->remote_ip6);
	key->ipv6.sport = bpf_htons(skops->local_port);
	key->ipv6.dport = remote_port(skops);
}

/* From now on every send() of this socket runs sendmsg_prog. */
static __always_inline void enable_encoding_metadata(struct bpf_sock_ops *skops,
						     struct bpf_sock *sk, __u64 cookie)
{
	struct sock_storage_data *storage = sock_storage_lookup(sk);
	struct bpf_sock_tuple key;
	int ret;

	if (!storage || !storage->via_waypoint)
		return;
	socket_key(skops, &key);
	ret = socket_insert(skops, &key);
	trace_lookup(cookie, KL_SOCKHASH, 0, 0, ret);
}

/* Remote -> local, ports HOST: client -> server where this side accepted. Where it connected, nobody has asked for it. */
static __always_inline __u32 auth_tuple(struct bpf_sock *sk, struct bpf_sock_tuple *tuple)
{
	struct bpf_sock_tuple ipv4 = { 0 };

	__builtin_memset(tuple, 0, sizeof(*tuple));
	construct_tuple(sk, tuple, INBOUND);
	if (sk->family == AF_INET)
		return RECORD_IPV4;
	if (!is_ipv4_mapped(tuple->ipv6.saddr))
		return RECORD_IPV6;
	ipv4.ipv4.saddr = tuple->ipv6.saddr[3];
	ipv4.ipv4.daddr = tuple->ipv6.daddr[3];
	ipv4.ipv4.sport = tuple->ipv6.sport;
	ipv4.ipv4.dport = tuple->ipv6.dport;
	*tuple = ipv4;
	return RECORD_IPV4;
}

/* Somebody connected to this pod. The agent reads the ring and may write a verdict to km_auth_res. */
static __always_inline void auth_ip_tuple(struct bpf_sock *sk)
{
	struct auth_request *request = auth_req_reserve();
	struct bpf_sock_tuple tuple;
	struct kl_lost *lost;

	if (!request) {
		lost = lost_counters();
		if (lost)
			__sync_fetch_and_add(&lost->auth_req, 1);
		return;
	}
	request->type = auth_tuple(sk, &tuple);
	request->tuple = tuple;
	auth_req_submit(request);
}

static __always_inline void clean_auth_map(struct bpf_sock *sk)
{
	struct bpf_sock_tuple tuple;

	auth_tuple(sk, &tuple);
	auth_res_delete(&tuple);
}

static __always_inline void on_established(struct bpf_sock_ops *skops, struct bpf_sock *sk,
					   __u8 direction)
{
	__u64 cookie = trace_cookie(skops, sk);

	trace_lookup(cookie, KL_ESTABLISHED, 0, direction, 0);
	if (is_monitoring_enabled())
		observe_on_connect_established(sk, direction);
	bpf_sock_ops_cb_flags_set(skops, BPF_SOCK_OPS_STATE_CB_FLAG);
	if (direction == OUTBOUND)
		enable_encoding_metadata(skops, sk, cookie);
	else
		auth_ip_tuple(sk);
}

static __always_inline void on_close(struct bpf_sock_ops *skops, struct bpf_sock *sk)
{
	trace_lookup(trace_cookie(skops, sk), KL_CLOSED, 0, 0, 0);
	if (is_monitoring_enabled())
		observe_on_close(sk);
	clean_auth_map(sk);
}

SEC("sockops")
int sockops_prog(struct bpf_sock_ops *skops)
{
	struct bpf_sock *sk = skops->sk;

	if (!sk || (skops->family != AF_INET && skops->family != AF_INET6))
		return 0;

	switch (skops->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		skops_handle_kmesh_managed_process(skops, sk);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		if (is_managed(skops))
			on_established(skops, sk, OUTBOUND);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		if (is_managed(skops) && !is_probe(skops))
			on_established(skops, sk, INBOUND);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (skops->args[1] == BPF_TCP_CLOSE)
			on_close(skops, sk);
		break;
	}
	return 0;
}

LICENSE("Dual BSD/GPL");

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * cgroup_skb: a connection that lives long is reported again and again.
 *
 * Hooks:   cgroup_skb/ingress and cgroup_skb/egress.
 * When:    for every IP packet of a socket of the node. There is no timer: an idle connection reports nothing.
 * Reads:   kl_config (off unless periodic_report is set), km_manage by local address, km_sockstorage.
 * Writes:  km_tcp_probe, at most once in five seconds for one connection; km_sockstorage, when that was.
 * Returns: always 1, "let the packet pass".
 * Upstream: Kmesh bpf/kmesh/workload/cgroup_skb.c. Kernel: 5.13.
 */
#include "include/maps.h"
#include "include/manage.h"
#include "include/probe.h"

static __always_inline bool is_managed_skb(struct __sk_buff *skb)
{
	union manager_key key;
	__u32 ip6[4];

	read_ip6(ip6, skb->local_ip6);
	manage_addr_key(&key, skb->family, skb->local_ip4, ip6);
	return is_managed_by_kmesh(&key);
}

static __always_inline int report_long_connection(struct __sk_buff *skb)
{
	struct bpf_sock *sk;

	if (!is_periodic_report_enabled())
		return SK_PASS;
	if (skb->family != AF_INET && skb->family != AF_INET6)
		return SK_PASS;
	sk = skb->sk ? bpf_sk_fullsock(skb->sk) : NULL;
	if (sk && is_managed_skb(skb))
		observe_on_data(sk);
	return SK_PASS;
}

SEC("cgroup_skb/ingress")
int cgroup_skb_ingress_prog(struct __sk_buff *skb)
{
	return report_long_connection(skb);
}

SEC("cgroup_skb/egress")
int cgroup_skb_egress_prog(struct __sk_buff *skb)
{
	return report_long_connection(skb);
}

LICENSE("Dual BSD/GPL");

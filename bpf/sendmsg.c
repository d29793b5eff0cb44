// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sendmsg: the first bytes that a client sends to a waypoint get the original destination in front.
 *
 * Hook:    sk_msg, attached to km_socket: it runs for sockets that sockops put there, and for no other.
 * When:    in send(2), with the client's bytes, before TCP has cut them into segments.
 * Reads:   km_sockstorage (does this socket go to a waypoint, where did it want to go).
 * Writes:  16 or 28 bytes in front of the message (include/tlv.h), once per socket. Built with -DKL_PROXY_V2, for a
 *          waypoint that knows no TLV, 28 or 52 bytes of another header that says the same (include/proxy_v2.h).
 * Returns: always SK_PASS. If the bytes can not be pushed, the message leaves without them.
 * Upstream: Kmesh bpf/kmesh/workload/sendmsg.c. Kernel: 5.13.
 */
#include "include/context.h"
#include "include/maps.h"
#include "include/proxy_v2.h"
#include "include/tlv.h"
#include "include/trace.h"

/* Room for len bytes in front of the message; NULL if the kernel could not make it. */
static __always_inline void *push_front(struct sk_msg_md *msg, __u32 len)
{
	if (bpf_msg_push_data(msg, 0, len, 0))
		return NULL;
	/* The push moved the data. The verifier wants to see the comparison before any write. */
	if (msg->data + len > msg->data_end)
		return NULL;
	return msg->data;
}

#ifndef KL_PROXY_V2

static __always_inline int encode_org_dst4(struct sk_msg_md *msg, struct sock_storage_data *storage)
{
	struct tlv_org_dst4 *tlv = push_front(msg, sizeof(*tlv));

	if (!tlv)
		return 0;
	tlv->header.type = TLV_ORG_DST_ADDR;
	tlv->header.length = bpf_htonl(TLV_ORG_DST_ADDR4_LENGTH);
	tlv->addr = storage->sk_tuple.ipv4.daddr;
	tlv->port = storage->sk_tuple.ipv4.dport;
	tlv->end.type = TLV_PAYLOAD;
	tlv->end.length = 0;
	return sizeof(*tlv);
}

static __always_inline int encode_org_dst6(struct sk_msg_md *msg, struct sock_storage_data *storage)
{
	struct tlv_org_dst6 *tlv = push_front(msg, sizeof(*tlv));

	if (!tlv)
		return 0;
	tlv->header.type = TLV_ORG_DST_ADDR;
	tlv->header.length = bpf_htonl(TLV_ORG_DST_ADDR6_LENGTH);
	__builtin_memcpy(tlv->addr, storage->sk_tuple.ipv6.daddr, sizeof(tlv->addr));
	tlv->port = storage->sk_tuple.ipv6.dport;
	tlv->end.type = TLV_PAYLOAD;
	tlv->end.length = 0;
	return sizeof(*tlv);
}

#else

static __always_inline int push_tcp4(struct sk_msg_md *msg, __u32 saddr, __u32 daddr, __u16 dport)
{
	struct proxy_v2_tcp4 *proxy = push_front(msg, sizeof(*proxy));

	if (!proxy)
		return 0;
	proxy_v2_header(&proxy->header, PROXY_V2_TCP4, sizeof(*proxy));
	proxy->saddr = saddr;
	proxy->daddr = daddr;
	proxy->sport = bpf_htons(msg->local_port);
	proxy->dport = dport;
	return sizeof(*proxy);
}

static __always_inline int encode_org_dst4(struct sk_msg_md *msg, struct sock_storage_data *storage)
{
	return push_tcp4(msg, msg->local_ip4, storage->sk_tuple.ipv4.daddr,
			 storage->sk_tuple.ipv4.dport);
}

static __always_inline int encode_org_dst6(struct sk_msg_md *msg, struct sock_storage_data *storage)
{
	struct proxy_v2_tcp6 *proxy;
	__u32 saddr[4];

	read_ip6(saddr, msg->local_ip6);
	/* A proxy would not find the service of an IPv4 address in mapped form. */
	if (is_ipv4_mapped(storage->sk_tuple.ipv6.daddr))
		return push_tcp4(msg, saddr[3], storage->sk_tuple.ipv6.daddr[3],
				 storage->sk_tuple.ipv6.dport);
	proxy = push_front(msg, sizeof(*proxy));
	if (!proxy)
		return 0;
	proxy_v2_header(&proxy->header, PROXY_V2_TCP6, sizeof(*proxy));
	__builtin_memcpy(proxy->saddr, saddr, sizeof(proxy->saddr));
	__builtin_memcpy(proxy->daddr, storage->sk_tuple.ipv6.daddr, sizeof(proxy->daddr));
	proxy->sport = bpf_htons(msg->local_port);
	proxy->dport = storage->sk_tuple.ipv6.dport;
	return sizeof(*proxy);
}

#endif

/* The socket goes to a waypoint and has not told it anything yet. */
static __always_inline struct sock_storage_data *needs_tlv(struct sk_msg_md *msg)
{
	struct sock_storage_data *storage;

	if (msg->family != AF_INET && msg->family != AF_INET6)
		return NULL;
	storage = sock_storage_lookup(msg->sk);
	if (!storage || !storage->via_waypoint || storage->has_encoded)
		return NULL;
	return storage;
}

SEC("sk_msg")
int sendmsg_prog(struct sk_msg_md *msg)
{
	struct sock_storage_data *storage = needs_tlv(msg);
	bool ipv4 = msg->family == AF_INET;
	int pushed;

	if (!storage)
		return SK_PASS;
	/* Before the push, so a push that fails is never tried again: a waypoint must not meet a TLV in mid-stream. */
	storage->has_encoded = true;
	pushed = ipv4 ? encode_org_dst4(msg, storage) : encode_org_dst6(msg, storage);
	trace_address(trace_kept_cookie(msg->sk), KL_TLV, msg->family,
		      ipv4 ? (union ip_addr *)&storage->sk_tuple.ipv4.daddr :
			     (union ip_addr *)storage->sk_tuple.ipv6.daddr,
		      ipv4 ? storage->sk_tuple.ipv4.dport : storage->sk_tuple.ipv6.dport, pushed,
		      pushed ? 0 : -ENOENT);
	return SK_PASS;
}

LICENSE("Dual BSD/GPL");

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * cgroup_sock: connect(2) to a service becomes connect(2) to one of its pods.
 *
 * Hooks:   cgroup/connect4, cgroup/connect6, and for DNS cgroup/sendmsg4, cgroup/recvmsg4.
 * When:    in the system call, after the arguments are copied in and before a route is looked up or a SYN is built.
 * Reads:   km_manage, km_frontend, km_service, km_endpoint, km_backend.
 * Writes:  the destination in the context, km_sockstorage, km_manage (control addresses).
 * Returns: always 1, "go on". Whatever is missing, the address stays with which this run began: the client's, or after a
 *          tail call the waypoint's VIP.
 * Upstream: Kmesh bpf/kmesh/workload/cgroup_sock.c. Kernel: 5.13.
 */
#include "include/maps.h"
#include "include/frontend.h"
#include "include/manage.h"
#include "include/probe.h"

#define CGROUP_SOCK_OK 1 /* no program at these hooks ever denies; upstream, XDP may */
#define DNS_PORT bpf_htons(53)
#define DNS_PROXY_UID 0 /* the backend row that stands for the DNS proxy */

/* Slots of the program arrays; each holds the program that owns the array. */
#define TAIL_CALL_CONNECT4 0
#define TAIL_CALL_CONNECT6 1

/* The first original destination of a socket is kept; later ones are not. */
static __always_inline void set_original_dst(struct kmesh_context *kctx,
					     struct sock_storage_data *storage)
{
	if (storage->has_set_ip)
		return;
	if (kctx->ctx->family == AF_INET) {
		storage->sk_tuple.ipv4.daddr = kctx->orig_dst.ip4;
		storage->sk_tuple.ipv4.dport = kctx->ctx->user_port;
	} else {
		__builtin_memcpy(storage->sk_tuple.ipv6.daddr, kctx->orig_dst.ip6,
				 sizeof(kctx->orig_dst.ip6));
		storage->sk_tuple.ipv6.dport = kctx->ctx->user_port;
	}
	storage->has_set_ip = true;
}

static __always_inline struct backend_value *dns_proxy(struct bpf_sock_addr *ctx)
{
	struct backend_key key = { .backend_uid = DNS_PROXY_UID };

	return ctx->user_port == DNS_PORT ? backend_lookup(&key) : NULL;
}

/* A query, by whatever protocol, goes to the proxy, if the node has one. */
static __always_inline void redirect_dns(struct kmesh_context *kctx)
{
	struct backend_value *proxy = dns_proxy(kctx->ctx);
	struct sock_storage_data *storage;

	if (!proxy) {
		trace_lookup(kctx->cookie, KL_DNS, DNS_PROXY_UID, 0, -ENOENT);
		return;
	}
	storage = sock_storage_create(kctx->ctx->sk);
	if (storage)
		set_original_dst(kctx, storage);
	kctx->ctx->user_ip4 = proxy->addr.ip4;
	trace_address(kctx->cookie, KL_DNS, AF_INET, &proxy->addr, kctx->ctx->user_port,
		      DNS_PROXY_UID, 0);
}

/* The managers decide. 0: kctx->dnat_ip and dnat_port hold, and the socket remembers where it wanted to go. */
static __always_inline int sock_traffic_control(struct kmesh_context *kctx)
{
	struct frontend_value *frontend;
	struct sock_storage_data *storage;
	int ret;

	observe_on_pre_connect(kctx->ctx->sk);
	frontend = frontend_find(kctx);
	if (!frontend)
		return -ENOENT;
	ret = frontend_manager(kctx, frontend);
	if (ret)
		return ret;
	storage = sock_storage_create(kctx->ctx->sk);
	if (!storage)
		return 0;
	if (kctx->via_waypoint)
		storage->via_waypoint = true;
	set_original_dst(kctx, storage);
	return 0;
}

/* A socket of family AF_INET6 that asked for ::ffff:a.b.c.d gets its IPv4 pod in the same form. */
static __always_inline void map_dnat_to_ipv6(struct kmesh_context *kctx)
{
	if (!is_ipv4_mapped(kctx->orig_dst.ip6) || is_ipv4_mapped(kctx->dnat_ip.ip6))
		return;
	kctx->dnat_ip.ip6[3] = kctx->dnat_ip.ip6[0];
	kctx->dnat_ip.ip6[2] = bpf_htonl(0xffff);
	kctx->dnat_ip.ip6[1] = 0;
	kctx->dnat_ip.ip6[0] = 0;
}

static __always_inline bool is_tcp(struct kmesh_context *kctx)
{
	if (kctx->ctx->protocol == IPPROTO_TCP)
		return true;
	trace_lookup(kctx->cookie, KL_NOT_TCP, kctx->ctx->protocol, 0, 0);
	return false;
}

SEC("cgroup/connect4")
int cgroup_connect4_prog(struct bpf_sock_addr *ctx)
{
	struct kmesh_context kctx = {
		.ctx = ctx,
		.orig_dst.ip4 = ctx->user_ip4,
		.dnat_ip.ip4 = ctx->user_ip4,
		.dnat_port = ctx->user_port,
	};
	int ret;

	kctx.cookie = trace_cookie(ctx, ctx->sk);
	trace_connect(kctx.cookie, KL_CONNECT, AF_INET, &kctx.orig_dst, ctx->user_port,
		      ctx->protocol, ctx);
	if (handle_kmesh_manage_process(&kctx) || !is_kmesh_enabled(&kctx))
		return CGROUP_SOCK_OK;
	if (ctx->user_port == DNS_PORT) {
		redirect_dns(&kctx);
		return CGROUP_SOCK_OK;
	}
	if (!is_tcp(&kctx))
		return CGROUP_SOCK_OK;

	ret = sock_traffic_control(&kctx);
	if (ret == 0) {
		ctx->user_ip4 = kctx.dnat_ip.ip4;
		ctx->user_port = kctx.dnat_port;
	}
	trace_address(kctx.cookie, KL_VERDICT, AF_INET, ret ? &kctx.orig_dst : &kctx.dnat_ip,
		      ctx->user_port, 0, ret);
	if (ret == 0 && kctx.via_waypoint) {
		trace_lookup(kctx.cookie, KL_TAIL_CALL, TAIL_CALL_CONNECT4, 0, 0);
		tail_call4(ctx, TAIL_CALL_CONNECT4); /* comes back only if it fails: then the waypoint's VIP stands */
	}
	return CGROUP_SOCK_OK;
}

SEC("cgroup/connect6")
int cgroup_connect6_prog(struct bpf_sock_addr *ctx)
{
	struct kmesh_context kctx = {
		.ctx = ctx,
		.dnat_port = ctx->user_port,
	};
	int ret;

	/* Word by word: the verifier allows no wider access to this context. */
	kctx.orig_dst.ip6[0] = ctx->user_ip6[0];
	kctx.orig_dst.ip6[1] = ctx->user_ip6[1];
	kctx.orig_dst.ip6[2] = ctx->user_ip6[2];
	kctx.orig_dst.ip6[3] = ctx->user_ip6[3];
	kctx.dnat_ip = kctx.orig_dst;
	kctx.cookie = trace_cookie(ctx, ctx->sk);
	trace_connect(kctx.cookie, KL_CONNECT, AF_INET6, &kctx.orig_dst, ctx->user_port,
		      ctx->protocol, ctx);
	if (handle_kmesh_manage_process(&kctx) || !is_kmesh_enabled(&kctx) || !is_tcp(&kctx))
		return CGROUP_SOCK_OK;

	ret = sock_traffic_control(&kctx);
	if (ret == 0) {
		map_dnat_to_ipv6(&kctx);
		ctx->user_ip6[0] = kctx.dnat_ip.ip6[0];
		ctx->user_ip6[1] = kctx.dnat_ip.ip6[1];
		ctx->user_ip6[2] = kctx.dnat_ip.ip6[2];
		ctx->user_ip6[3] = kctx.dnat_ip.ip6[3];
		ctx->user_port = kctx.dnat_port;
	}
	trace_address(kctx.cookie, KL_VERDICT, AF_INET6, ret ? &kctx.orig_dst : &kctx.dnat_ip,
		      ctx->user_port, 0, ret);
	if (ret == 0 && kctx.via_waypoint) {
		trace_lookup(kctx.cookie, KL_TAIL_CALL, TAIL_CALL_CONNECT6, 0, 0);
		tail_call6(ctx, TAIL_CALL_CONNECT6);
	}
	return CGROUP_SOCK_OK;
}

/* An unconnected UDP socket asks a DNS server: the proxy gets the query. */
SEC("cgroup/sendmsg4")
int bpf_redirect_dns_send(struct bpf_sock_addr *ctx)
{
	struct kmesh_context kctx = {
		.ctx = ctx,
		.orig_dst.ip4 = ctx->user_ip4,
	};

	kctx.cookie = trace_cookie(ctx, ctx->sk);
	if (handle_kmesh_manage_process(&kctx) || !is_kmesh_enabled(&kctx))
		return CGROUP_SOCK_OK;
	if (ctx->user_port == DNS_PORT)
		redirect_dns(&kctx);
	return CGROUP_SOCK_OK;
}

/* A datagram from port 53 is shown as coming from the server that was asked, whoever sent it. */
SEC("cgroup/recvmsg4")
int bpf_restore_dns_recv(struct bpf_sock_addr *ctx)
{
	struct kmesh_context kctx = {
		.ctx = ctx,
		.orig_dst.ip4 = ctx->user_ip4,
	};
	struct sock_storage_data *storage;

	kctx.cookie = trace_cookie(ctx, ctx->sk);
	if (handle_kmesh_manage_process(&kctx) || !is_kmesh_enabled(&kctx))
		return CGROUP_SOCK_OK;
	if (!dns_proxy(ctx))
		return CGROUP_SOCK_OK;
	storage = sock_storage_create(ctx->sk);
	if (storage)
		ctx->user_ip4 = storage->sk_tuple.ipv4.daddr;
	return CGROUP_SOCK_OK;
}

LICENSE("Dual BSD/GPL");

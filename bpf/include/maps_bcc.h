/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps and their operations in bcc's dialect; maps_libbpf.h says the same to plain clang. */
#ifndef KL_MAPS_BCC_H
#define KL_MAPS_BCC_H

#define HASH(key_type, value_type, name, entries) \
	BPF_F_TABLE("hash", key_type, value_type, name, entries, BPF_F_NO_PREALLOC)

HASH(struct frontend_key, struct frontend_value, km_frontend, MAP_SIZE_OF_FRONTEND);
HASH(struct service_key, struct service_value, km_service, MAP_SIZE_OF_SERVICE);
HASH(struct endpoint_key, struct endpoint_value, km_endpoint, MAP_SIZE_OF_ENDPOINT);
HASH(struct backend_key, struct backend_value, km_backend, MAP_SIZE_OF_BACKEND);
HASH(union manager_key, u32, km_manage, MAP_SIZE_OF_MANAGER);
HASH(struct bpf_sock_tuple, u32, km_auth_res, MAP_SIZE_OF_AUTH);
BPF_SK_STORAGE(km_sockstorage, struct sock_storage_data);
BPF_SOCKHASH(km_socket, struct bpf_sock_tuple, MAP_SIZE_OF_SOCKET);
BPF_PROG_ARRAY(km_cgr_tailcall, MAP_SIZE_OF_TAIL_CALL);
BPF_PROG_ARRAY(km_cgr_tail6, MAP_SIZE_OF_TAIL_CALL);
RINGBUF(struct tcp_probe_info, km_tcp_probe, TCP_PROBE_RING_SIZE);
RINGBUF(struct auth_request, km_auth_req, AUTH_REQ_RING_SIZE);
BPF_ARRAY(kl_config, struct kl_config, 1);
BPF_ARRAY(kl_lost, struct kl_lost, 1);

static __always_inline struct frontend_value *frontend_lookup(struct frontend_key *key)
{
	return km_frontend.lookup(key);
}

static __always_inline struct service_value *service_lookup(struct service_key *key)
{
	return km_service.lookup(key);
}

static __always_inline struct endpoint_value *endpoint_lookup(struct endpoint_key *key)
{
	return km_endpoint.lookup(key);
}

static __always_inline struct backend_value *backend_lookup(struct backend_key *key)
{
	return km_backend.lookup(key);
}

static __always_inline __u32 *manage_lookup(union manager_key *key)
{
	return km_manage.lookup(key);
}

static __always_inline int manage_add(union manager_key *key)
{
	__u32 value = 0;

	return km_manage.update(key, &value);
}

static __always_inline int manage_delete(union manager_key *key)
{
	return km_manage.delete(key);
}

static __always_inline int auth_res_delete(struct bpf_sock_tuple *key)
{
	return km_auth_res.delete(key);
}

static __always_inline struct sock_storage_data *sock_storage_lookup(struct bpf_sock *sk)
{
	return km_sockstorage.sk_storage_get(sk, 0, 0);
}

static __always_inline struct sock_storage_data *sock_storage_create(struct bpf_sock *sk)
{
	return km_sockstorage.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline int socket_insert(struct bpf_sock_ops *skops, struct bpf_sock_tuple *key)
{
	return km_socket.sock_hash_update(skops, key, BPF_ANY);
}

static __always_inline void tail_call4(struct bpf_sock_addr *ctx, int index)
{
	km_cgr_tailcall.call(ctx, index);
}

static __always_inline void tail_call6(struct bpf_sock_addr *ctx, int index)
{
	km_cgr_tail6.call(ctx, index);
}

static __always_inline struct tcp_probe_info *tcp_probe_reserve(void)
{
	return km_tcp_probe.ringbuf_reserve(sizeof(struct tcp_probe_info));
}

static __always_inline void tcp_probe_submit(struct tcp_probe_info *info)
{
	km_tcp_probe.ringbuf_submit(info, 0);
}

static __always_inline struct auth_request *auth_req_reserve(void)
{
	return km_auth_req.ringbuf_reserve(sizeof(struct auth_request));
}

static __always_inline void auth_req_submit(struct auth_request *request)
{
	km_auth_req.ringbuf_submit(request, 0);
}

static __always_inline struct kl_config *node_config(void)
{
	int index = 0;

	return kl_config.lookup(&index);
}

static __always_inline struct kl_lost *lost_counters(void)
{
	int index = 0;

	return kl_lost.lookup(&index);
}

#ifdef KL_TRACE
RINGBUF(struct kl_step, kl_trace, KL_TRACE_RING_SIZE);
BPF_SK_STORAGE(kl_cookie, u64);

static __always_inline struct kl_step *trace_reserve(void)
{
	return kl_trace.ringbuf_reserve(sizeof(struct kl_step));
}

static __always_inline void trace_submit(struct kl_step *step)
{
	kl_trace.ringbuf_submit(step, 0);
}

static __always_inline __u64 *cookie_storage(struct bpf_sock *sk)
{
	return kl_cookie.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}
#endif

#endif

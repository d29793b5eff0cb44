/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps and their operations in libbpf's dialect, for plain clang; maps_bcc.h says the same to bcc. */
#ifndef KL_MAPS_LIBBPF_H
#define KL_MAPS_LIBBPF_H

#define MAP(map_type, key_type, value_type, name, entries, flags) \
	struct {                                                  \
		__uint(type, map_type);                           \
		__uint(max_entries, entries);                     \
		__uint(map_flags, flags);                         \
		__type(key, key_type);                            \
		__type(value, value_type);                        \
	} name SEC(".maps")

#define HASH(key_type, value_type, name, entries) \
	MAP(BPF_MAP_TYPE_HASH, key_type, value_type, name, entries, BPF_F_NO_PREALLOC)

#define RINGBUF(name, bytes)                        \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_RINGBUF); \
		__uint(max_entries, bytes);         \
	} name SEC(".maps")

HASH(struct frontend_key, struct frontend_value, km_frontend, MAP_SIZE_OF_FRONTEND);
HASH(struct service_key, struct service_value, km_service, MAP_SIZE_OF_SERVICE);
HASH(struct endpoint_key, struct endpoint_value, km_endpoint, MAP_SIZE_OF_ENDPOINT);
HASH(struct backend_key, struct backend_value, km_backend, MAP_SIZE_OF_BACKEND);
HASH(union manager_key, __u32, km_manage, MAP_SIZE_OF_MANAGER);
HASH(struct bpf_sock_tuple, __u32, km_auth_res, MAP_SIZE_OF_AUTH);
MAP(BPF_MAP_TYPE_SK_STORAGE, int, struct sock_storage_data, km_sockstorage, 0, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_SOCKHASH, struct bpf_sock_tuple, __u32, km_socket, MAP_SIZE_OF_SOCKET, 0);
MAP(BPF_MAP_TYPE_PROG_ARRAY, __u32, __u32, km_cgr_tailcall, MAP_SIZE_OF_TAIL_CALL, 0);
MAP(BPF_MAP_TYPE_PROG_ARRAY, __u32, __u32, km_cgr_tail6, MAP_SIZE_OF_TAIL_CALL, 0);
RINGBUF(km_tcp_probe, TCP_PROBE_RING_SIZE);
RINGBUF(km_auth_req, AUTH_REQ_RING_SIZE);
MAP(BPF_MAP_TYPE_ARRAY, __u32, struct kl_config, kl_config, 1, 0);
MAP(BPF_MAP_TYPE_ARRAY, __u32, struct kl_lost, kl_lost, 1, 0);

static __always_inline struct frontend_value *frontend_lookup(struct frontend_key *key)
{
	return bpf_map_lookup_elem(&km_frontend, key);
}

static __always_inline struct service_value *service_lookup(struct service_key *key)
{
	return bpf_map_lookup_elem(&km_service, key);
}

static __always_inline struct endpoint_value *endpoint_lookup(struct endpoint_key *key)
{
	return bpf_map_lookup_elem(&km_endpoint, key);
}

static __always_inline struct backend_value *backend_lookup(struct backend_key *key)
{
	return bpf_map_lookup_elem(&km_backend, key);
}

static __always_inline __u32 *manage_lookup(union manager_key *key)
{
	return bpf_map_lookup_elem(&km_manage, key);
}

static __always_inline int manage_add(union manager_key *key)
{
	__u32 value = 0;

	return bpf_map_update_elem(&km_manage, key, &value, BPF_ANY);
}

static __always_inline int manage_delete(union manager_key *key)
{
	return bpf_map_delete_elem(&km_manage, key);
}

static __always_inline int auth_res_delete(struct bpf_sock_tuple *key)
{
	return bpf_map_delete_elem(&km_auth_res, key);
}

static __always_inline struct sock_storage_data *sock_storage_lookup(struct bpf_sock *sk)
{
	return bpf_sk_storage_get(&km_sockstorage, sk, 0, 0);
}

static __always_inline struct sock_storage_data *sock_storage_create(struct bpf_sock *sk)
{
	return bpf_sk_storage_get(&km_sockstorage, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline int socket_insert(struct bpf_sock_ops *skops, struct bpf_sock_tuple *key)
{
	return bpf_sock_hash_update(skops, &km_socket, key, BPF_ANY);
}

static __always_inline void tail_call4(struct bpf_sock_addr *ctx, int index)
{
	bpf_tail_call(ctx, &km_cgr_tailcall, index);
}

static __always_inline void tail_call6(struct bpf_sock_addr *ctx, int index)
{
	bpf_tail_call(ctx, &km_cgr_tail6, index);
}

static __always_inline struct tcp_probe_info *tcp_probe_reserve(void)
{
	return bpf_ringbuf_reserve(&km_tcp_probe, sizeof(struct tcp_probe_info), 0);
}

static __always_inline void tcp_probe_submit(struct tcp_probe_info *info)
{
	bpf_ringbuf_submit(info, 0);
}

static __always_inline struct auth_request *auth_req_reserve(void)
{
	return bpf_ringbuf_reserve(&km_auth_req, sizeof(struct auth_request), 0);
}

static __always_inline void auth_req_submit(struct auth_request *request)
{
	bpf_ringbuf_submit(request, 0);
}

static __always_inline struct kl_config *node_config(void)
{
	int index = 0;

	return bpf_map_lookup_elem(&kl_config, &index);
}

static __always_inline struct kl_lost *lost_counters(void)
{
	int index = 0;

	return bpf_map_lookup_elem(&kl_lost, &index);
}

#ifdef KL_TRACE
RINGBUF(kl_trace, KL_TRACE_RING_SIZE);
MAP(BPF_MAP_TYPE_SK_STORAGE, int, __u64, kl_cookie, 0, BPF_F_NO_PREALLOC);

static __always_inline struct kl_step *trace_reserve(void)
{
	return bpf_ringbuf_reserve(&kl_trace, sizeof(struct kl_step), 0);
}

static __always_inline void trace_submit(struct kl_step *step)
{
	bpf_ringbuf_submit(step, 0);
}

static __always_inline __u64 *cookie_storage(struct bpf_sock *sk)
{
	return bpf_sk_storage_get(&kl_cookie, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}
#endif

#endif

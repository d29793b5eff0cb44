SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), -1, 0);

#ifdef FIXED
	if (sk)
		bpf_sk_release(sk);
#endif
	return sk ? 1 : 0; /* HERE */
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return 1;
#ifdef FIXED
	return sk->family == AF_INET;
#else
	return *(u32 *)((u8 *)sk + 90) ? 1 : 0; /* HERE */
#endif
}

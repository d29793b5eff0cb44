SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

#ifdef FIXED
	return sk && sk->mark ? 1 : 0;
#else
	if (sk)
		sk->mark = 7; /* HERE */
	return 1;
#endif
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	return ctx->user_ip4 ? 1 : 0;
#else
	return ctx->user_ip6[0] ? 1 : 0; /* HERE */
#endif
}

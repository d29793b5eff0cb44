SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	ctx->user_port = bpf_htons(8080);
#else
	*(u16 *)&ctx->user_port = bpf_htons(8080); /* HERE */
#endif
	return 1;
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	ctx->user_port = bpf_htons(8080);
#ifdef FIXED
	return 1;
#endif
} /* HERE */

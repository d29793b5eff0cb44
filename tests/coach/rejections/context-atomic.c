SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	ctx->user_ip4 = ctx->user_ip4 + bpf_htonl(1);
#else
	__sync_fetch_and_add(&ctx->user_ip4, bpf_htonl(1)); /* HERE */
#endif
	return 1;
}

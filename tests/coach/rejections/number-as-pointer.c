SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	return ctx->user_ip4 ? 1 : 0;
#else
	u32 *address = (u32 *)(u64)ctx->user_ip4;

	return *address ? 1 : 0; /* HERE */
#endif
}

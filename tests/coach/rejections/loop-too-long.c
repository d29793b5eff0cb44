SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	u32 sum = 0;

#ifdef FIXED
	for (u32 i = 0; i < 100; i++)
		sum += ctx->user_ip4 ^ i;
#else
	for (u32 i = 0; i < ctx->user_ip4; i++) /* HERE */
		sum += ctx->user_ip4 ^ i;
#endif
	return sum ? 1 : 0;
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	u32 port = 0;
#else
	u32 port;
#endif

	if (ctx->user_ip4)
		asm volatile("%0 = 5" : "=r"(port));
	asm volatile("%0 += 1" : "+r"(port)); /* HERE */
	ctx->user_port = port;
	return 1;
}

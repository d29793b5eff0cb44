SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	u32 *field = (u32 *)ctx;

#ifndef FIXED
	/* by hand, because the compiler would put the sum into the access */
	asm volatile("%0 += 4" : "+r"(field));
#endif
#ifdef FIXED
	return ctx->user_ip4 ? 1 : 0;
#else
	return *field ? 1 : 0; /* HERE */
#endif
}

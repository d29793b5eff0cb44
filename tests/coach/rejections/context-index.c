SEC("cgroup/connect6")
int learn(struct bpf_sock_addr *ctx)
{
	u32 at = bpf_get_prandom_u32() & 3;

#ifdef FIXED
	return at && ctx->user_ip6[3] ? 1 : 0;
#else
	return ctx->user_ip6[at] ? 1 : 0; /* HERE */
#endif
}

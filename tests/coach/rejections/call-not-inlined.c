#ifdef FIXED
static __always_inline
#else
static __attribute__((noinline))
#endif
int is_odd(u32 x)
{
	return (x ^ bpf_get_prandom_u32()) & 1;
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	return is_odd(ctx->user_port);
}

static __attribute__((noinline)) int odd(u32 x)
{
	return x & 1;
}

static __attribute__((noinline)) int even(u32 x)
{
	return x & 2;
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	return ctx->user_ip4 & 3 ? 1 : 0;
#else
	int (*choose)(u32) = ctx->user_port ? odd : even;

	return choose(ctx->user_ip4) ? 1 : 0;
#endif
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	struct frontend_key key = {};

	key.addr.ip4 = ctx->user_ip4;
	return frontend_lookup(&key) ? 1 : 0;
#else
	return frontend_lookup((struct frontend_key *)&ctx->user_ip4) ? 1 : 0; /* HERE */
#endif
}

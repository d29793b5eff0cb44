BPF_HASH(rows, u32, u64, 4);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	u32 port = ctx->user_port;

	return rows.lookup(&port) ? 1 : 0;
#else
	return rows.lookup((u32 *)(u64)ctx->user_port) ? 1 : 0; /* HERE */
#endif
}

struct counts {
	u32 each[7];
};
BPF_ARRAY(rows, struct counts, 1);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	int zero = 0;
	struct counts *counts = rows.lookup(&zero);
	u32 size = ctx->user_port;

	if (!counts)
		return 1;
#ifdef FIXED
	__builtin_memset(counts, 0, sizeof(*counts));
#else
	__builtin_memset(counts, 0, size); /* HERE */
#endif
	return 1;
}

struct counts {
	u32 each[7];
};
BPF_ARRAY(rows, struct counts, 1);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	int zero = 0;
	u32 at = ctx->user_port;
	struct counts *counts = rows.lookup(&zero);

#ifdef FIXED
	if (!counts || at >= 7)
		return 1;
#else
	if (!counts || at > 7)
		return 1;
#endif
	counts->each[at]++; /* HERE */
	return 1;
}

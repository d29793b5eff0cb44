struct counts {
	u32 each[7];
};
BPF_ARRAY(rows, struct counts, 1);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	int zero = 0;
#ifdef FIXED
	u32 at = bpf_get_prandom_u32();
#else
	int at = bpf_get_prandom_u32();
#endif
	struct counts *counts = rows.lookup(&zero);

	if (!counts || at > 6)
		return 1;
	counts->each[at]++; /* HERE */
	return 1;
}

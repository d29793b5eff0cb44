BPF_HASH(rows, u32, u64, 4);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	u32 key = 1;
	u64 *value = rows.lookup(&key);

#ifdef FIXED
	if (!value)
		return 1;
#endif
	/* by hand, because the compiler moves it behind the question */
	asm volatile("%0 += 0" : "+r"(value)); /* HERE */
	return value && *value ? 1 : 0;
}

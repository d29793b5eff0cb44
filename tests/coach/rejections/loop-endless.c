SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	for (int i = 0; i < 8; i++)
#else
	while (1) /* HERE */
#endif
		bpf_get_prandom_u32();
	return 1;
}

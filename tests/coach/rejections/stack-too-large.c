SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	volatile u8 big[60];
#else
	volatile u8 big[600];
#endif

	for (int i = 0; i < sizeof(big); i++) /* HERE */
		big[i] = 1;
	return big[3] & 1;
}

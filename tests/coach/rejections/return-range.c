SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	return 1;
#else
	return -EINVAL; /* HERE */
#endif
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifndef FIXED
	ctx->family = AF_INET6; /* HERE */
#endif
	return 1;
}

SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	u32 key = 1;

#ifdef FIXED
	return bpf_get_socket_cookie(ctx) ? 1 : 0;
#else
	return bpf_get_socket_cookie(&key) ? 1 : 0; /* HERE */
#endif
}

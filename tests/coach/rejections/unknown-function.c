SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	bpf_trace_printk("hello");
#else
	printf("hello"); /* HERE */
#endif
	return 1;
}

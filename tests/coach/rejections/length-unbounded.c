SEC("cgroup_skb/egress")
int learn(struct __sk_buff *skb)
{
	u8 head[16];

#ifdef FIXED
	bpf_probe_read_kernel(head, sizeof(head), skb);
#else
	bpf_probe_read_kernel(head, skb->len, skb); /* HERE */
#endif
	return 1;
}

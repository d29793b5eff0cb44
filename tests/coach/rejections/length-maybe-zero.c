SEC("cgroup_skb/egress")
int learn(struct __sk_buff *skb)
{
	u8 head[16];

#ifdef FIXED
	bpf_skb_load_bytes(skb, 0, head, sizeof(head));
#else
	bpf_skb_load_bytes(skb, 0, head, skb->len); /* HERE */
#endif
	return 1;
}

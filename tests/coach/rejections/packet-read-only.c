SEC("cgroup_skb/egress")
int learn(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data;

	if (data + 1 > (u8 *)(long)skb->data_end)
		return 1;
#ifndef FIXED
	data[0] = 0; /* HERE */
#endif
	return 1;
}

SEC("sk_msg")
int learn(struct sk_msg_md *msg)
{
	u8 *data = msg->data;
	u32 at = bpf_get_prandom_u32();

#ifdef FIXED
	if (at > 1000)
		return SK_PASS;
#endif
	if (data + at + 1 > (u8 *)msg->data_end)
		return SK_PASS;
	data[at] = 0; /* HERE */
	return SK_PASS;
}

SEC("sk_msg")
int learn(struct sk_msg_md *msg)
{
	u8 *data = msg->data;

	if (data + 1 > (u8 *)msg->data_end)
		return SK_PASS;
	bpf_msg_push_data(msg, 0, 16, 0);
#ifdef FIXED
	data = msg->data;
	if (data + 1 > (u8 *)msg->data_end)
		return SK_PASS;
#endif
	data[0] = TLV_ORG_DST_ADDR; /* HERE */
	return SK_PASS;
}

SEC("sk_msg")
int learn(struct sk_msg_md *msg)
{
	u8 *data = msg->data;

#ifdef FIXED
	if (data + 6 > (u8 *)msg->data_end)
		return SK_PASS;
#endif
	data[5] = 0; /* HERE */
	return SK_PASS;
}

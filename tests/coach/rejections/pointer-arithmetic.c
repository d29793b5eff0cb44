SEC("sk_msg")
int learn(struct sk_msg_md *msg)
{
	u64 data = (u64)msg->data;

#ifdef FIXED
	data += 2;
#else
	asm volatile("%0 *= 2" : "+r"(data)); /* HERE */
#endif
	return data ? SK_PASS : SK_DROP;
}

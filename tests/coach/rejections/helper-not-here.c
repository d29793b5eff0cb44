SEC("sk_msg")
int learn(struct sk_msg_md *msg)
{
#ifdef FIXED
	return SK_PASS;
#else
	return bpf_get_socket_cookie(msg) ? SK_PASS : SK_DROP; /* HERE */
#endif
}

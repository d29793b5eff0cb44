SEC("sockops")
int learn(struct bpf_sock_ops *skops)
{
	struct bpf_sock *sk = skops->sk;

#ifdef FIXED
	if (!sk)
		return 0;
#endif
	return sock_storage_lookup(sk) ? 1 : 0; /* HERE */
}

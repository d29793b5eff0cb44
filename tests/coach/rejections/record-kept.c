BPF_RINGBUF_OUTPUT(ring, 1);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	u32 *record = ring.ringbuf_reserve(sizeof(*record));

	if (!record)
		return 1;
	*record = ctx->user_ip4;
#ifdef FIXED
	bpf_ringbuf_discard(record, 0);
#endif
	return 1;
} /* HERE */

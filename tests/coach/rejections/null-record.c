BPF_RINGBUF_OUTPUT(ring, 1);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	u32 *record = ring.ringbuf_reserve(sizeof(*record));

#ifdef FIXED
	if (!record)
		return 1;
#endif
	*record = ctx->user_ip4; /* HERE */
	ring.ringbuf_submit(record, 0);
	return 1;
}

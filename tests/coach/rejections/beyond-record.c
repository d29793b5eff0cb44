BPF_RINGBUF_OUTPUT(ring, 1);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
#ifdef FIXED
	u32 *record = ring.ringbuf_reserve(2 * sizeof(*record));
#else
	u32 *record = ring.ringbuf_reserve(sizeof(*record));
#endif

	if (!record)
		return 1;
	record[1] = ctx->user_ip4; /* HERE */
	ring.ringbuf_submit(record, 0);
	return 1;
}

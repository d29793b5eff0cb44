BPF_RINGBUF_OUTPUT(ring, 1);
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	u32 *record = ring.ringbuf_reserve(sizeof(*record));

	if (!record)
		return 1;
#ifdef FIXED
	*record = ctx->user_ip4;
#endif
	ring.ringbuf_submit(record, 0);
#ifndef FIXED
	*record = ctx->user_ip4; /* HERE */
#endif
	return 1;
}

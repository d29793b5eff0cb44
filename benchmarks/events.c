// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * events: writes one record per run, as large as those of km_tcp_probe, to a ring buffer of its own.
 *
 * Hook:    tc; never attached, only run by BPF_PROG_TEST_RUN.
 * Writes:  kb_events, and kb_lost if there is no room.
 */
#define SEC(name)
#define RECORD_SIZE 128 /* struct tcp_probe_info */

struct record {
	u8 bytes[RECORD_SIZE];
};

BPF_RINGBUF_OUTPUT(kb_events, KB_PAGES);
BPF_ARRAY(kb_lost, u64, 1);

SEC("tc")
int emit(struct __sk_buff *skb)
{
	struct record *record = kb_events.ringbuf_reserve(sizeof(struct record));
	int index = 0;
	u64 *lost;

	if (record) {
		__builtin_memset(record, 0, sizeof(*record));
		kb_events.ringbuf_submit(record, 0);
		return 0;
	}
	lost = kb_lost.lookup(&index);
	if (lost)
		__sync_fetch_and_add(lost, 1);
	return 0;
}

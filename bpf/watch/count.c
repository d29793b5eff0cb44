// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * count: system calls, context switches and softirqs of a few processes, between two marks.
 *
 * Ours, an instrument of the lab: Kmesh has nothing like it. In bcc's dialect only.
 * Hooks:   raw tracepoints, which need neither kprobes nor tracefs. sys_enter is global: it slows every system call of the
 *          machine a little, so who counts does not time.
 * Reads:   kl_watched (which processes, and where each is counted), kl_gate (whether to count now).
 * Writes:  kl_counts, kl_softirqs.
 * Returns: nothing that matters. Kernel: 5.13.
 */
#include "gate.h"

struct kl_count {
	u64 syscalls;
	u64 switches; /* off the CPU, by waiting or by force */
};

struct kl_softirqs {
	u64 count;
	u64 ns;
	u64 since;
};

BPF_ARRAY(kl_counts, struct kl_count, 64);
BPF_ARRAY(kl_softirqs, struct kl_softirqs, 1); /* of the CPU that the path is on, KL_CPU */

static __always_inline struct kl_count *count_of_current(void)
{
	u32 *row = gate_is_open() ? row_of_current() : NULL;

	return row ? kl_counts.lookup(row) : NULL;
}

SEC("raw_tracepoint/sys_enter")
int count_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	struct kl_count *count;

	if (reads_clock(ctx->args[1]) || turn_gate(ctx->args[1]))
		return 0;
	count = count_of_current();
	if (count)
		__sync_fetch_and_add(&count->syscalls, 1);
	return 0;
}

/* Current is still the one that leaves. */
SEC("raw_tracepoint/sched_switch")
int count_sched_switch(struct bpf_raw_tracepoint_args *ctx)
{
	struct kl_count *count = count_of_current();

	if (count)
		__sync_fetch_and_add(&count->switches, 1);
	return 0;
}

SEC("raw_tracepoint/softirq_entry")
int count_softirq_entry(struct bpf_raw_tracepoint_args *ctx)
{
	int zero = 0;
	struct kl_softirqs *softirqs = kl_softirqs.lookup(&zero);

	if (softirqs && bpf_get_smp_processor_id() == KL_CPU && gate_is_open())
		softirqs->since = bpf_ktime_get_ns();
	return 0;
}

SEC("raw_tracepoint/softirq_exit")
int count_softirq_exit(struct bpf_raw_tracepoint_args *ctx)
{
	int zero = 0;
	struct kl_softirqs *softirqs = kl_softirqs.lookup(&zero);

	if (!softirqs || !softirqs->since || bpf_get_smp_processor_id() != KL_CPU)
		return 0;
	softirqs->count++;
	softirqs->ns += bpf_ktime_get_ns() - softirqs->since;
	softirqs->since = 0;
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whom the instruments watch, and when.
 *
 * The process that has row 0 opens and closes the gate with the system call KL_MARK, which does nothing else (getppid);
 * so what is seen begins and ends where that process says, whatever else happens on the machine. Looks at the clock are left
 * out: they are system calls only where the machine's clock is none that the vDSO can read. comparison/counting.py says
 * with -D what differs: KL_MARK, KL_CLOCK_GETTIME and KL_GETTIMEOFDAY between architectures; KL_PIDNS_DEV and KL_PIDNS_INO,
 * the PID namespace in which the processes have the numbers that we are told, between the machine and each container.
 */
#ifndef KL_GATE_H
#define KL_GATE_H

#include "../include/bcc.h"

BPF_HASH(kl_watched, u32, u32, 64); /* process, as its PID namespace calls it → its row */
BPF_ARRAY(kl_gate, u32, 1);

static __always_inline bool gate_is_open(void)
{
	int zero = 0;
	u32 *gate = kl_gate.lookup(&zero);

	return gate && *gate;
}

/* 0 for a process of another PID namespace. For tracepoints: before Linux 6.10 cgroup_skb has no such helper. */
static __always_inline u32 current_process(void)
{
	struct bpf_pidns_info here = {};

	bpf_get_ns_current_pid_tgid(KL_PIDNS_DEV, KL_PIDNS_INO, &here, sizeof(here));
	return here.tgid;
}

static __always_inline u32 *row_of_current(void)
{
	u32 process = current_process();

	return kl_watched.lookup(&process);
}

static __always_inline bool reads_clock(long number)
{
	return number == KL_CLOCK_GETTIME || number == KL_GETTIMEOFDAY;
}

/* True for the system call that turned the gate: that one is nobody's business. */
static __always_inline bool turn_gate(long number)
{
	u32 *row = number == KL_MARK ? row_of_current() : NULL;
	int zero = 0;
	u32 *gate = kl_gate.lookup(&zero);

	if (!row || *row || !gate)
		return false;
	*gate = !*gate;
	return true;
}

#endif

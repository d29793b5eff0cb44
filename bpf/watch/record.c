// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * record: every step of a few processes, between two marks, with its first bytes.
 *
 * Ours, an instrument of the lab: Kmesh has nothing like it. In bcc's dialect only.
 * Hooks:   raw tracepoints for system calls and context switches, which need neither kprobes nor tracefs; cgroup_skb on the
 *          cgroup of a lab, for every TCP segment that one of its sockets sends or gets.
 * Reads:   kl_watched, kl_gate; kl_calls (what the arguments of a system call are); memory of the watched processes.
 * Writes:  kl_events, and kl_lost where there is no room.
 * Returns: 1 from cgroup_skb, so every segment goes on. Kernel: 5.13. IPv4 only.
 *
 * comparison/recorder.py says with -D what differs between machines: KL_ARG0 to KL_ARG2 and KL_NUMBER are offsets in
 * pt_regs, KL_CPU is the one CPU that the path is on.
 */
#include "gate.h"

#define KL_DATA 128 /* bytes of a message that are kept; a power of two */
#define IPPROTO_TCP 6

enum kl_event_kind {
	KL_CALL = 1, /* a system call begins. number, arg[]; data: what it sends, or the address */
	KL_RETURN = 2, /* it ends. ret; data: what it got */
	KL_SWITCH = 3, /* this process leaves the CPU of the path */
	KL_SEND = 4, /* a segment leaves a socket, after NAT. cookie, addresses, flags, length; data */
	KL_RECEIVE = 5 /* a segment arrives at a socket */
};

/* kl_calls: where the bytes of a system call are. */
enum kl_call_kind {
	KL_PLAIN = 0,
	KL_OUT = 1,	/* arg 1: a buffer of arg 2 bytes */
	KL_IN = 2,	/* the same, filled when the call returns */
	KL_OUT_IOV = 3, /* arg 1: an array of buffers */
	KL_IN_IOV = 4,
	KL_OUT_MSG = 5, /* arg 1: a msghdr */
	KL_IN_MSG = 6
};

struct kl_event {
	u64 ktime_ns;
	u64 cookie;
	s64 ret;
	u64 arg[3];
	u32 process; /* as kl_watched calls it; 0: one of another PID namespace, or a segment: see below */
	u32 thread;
	u32 kind;
	u32 number; /* of the system call; of a segment, its TCP flags */
	u32 saddr;  /* NET */
	u32 daddr;  /* NET */
	u32 sport;
	u32 dport;
	u32 length; /* of the payload */
	u32 kept;   /* bytes of data */
	u8 data[KL_DATA];
};

RINGBUF(struct kl_event, kl_events, 1 << 20);
BPF_ARRAY(kl_calls, u32, 512);
BPF_ARRAY(kl_lost, u64, 1);

static __always_inline struct kl_event *begin(u32 kind)
{
	struct kl_event *event = kl_events.ringbuf_reserve(sizeof(struct kl_event));
	int zero = 0;
	u64 *lost;

	if (!event) {
		lost = kl_lost.lookup(&zero);
		if (lost)
			__sync_fetch_and_add(lost, 1);
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->ktime_ns = bpf_ktime_get_ns();
	event->kind = kind;
	return event;
}

/* What a process does. */
static __always_inline struct kl_event *begin_of_current(u32 kind)
{
	struct kl_event *event = begin(kind);

	if (!event)
		return NULL;
	event->process = current_process();
	event->thread = bpf_get_current_pid_tgid();
	return event;
}

static __always_inline u64 register_at(u64 registers, u32 offset)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)(registers + offset));
	return value;
}

static __always_inline u64 user_word(u64 address)
{
	u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)address);
	return value;
}

/* The first bytes of a buffer of the process, and how long it is. */
static __always_inline void keep(struct kl_event *event, u64 buffer, u64 size)
{
	event->length = size;
	if (size > KL_DATA)
		size = KL_DATA;
	if (bpf_probe_read_user(event->data, size, (void *)buffer) == 0)
		event->kept = size;
}

static __always_inline void keep_of_call(struct kl_event *event, u32 call, bool returned)
{
	u64 buffer = event->arg[1], size = event->arg[2];

	if (call == KL_OUT_MSG || call == KL_IN_MSG)
		buffer = user_word(buffer + 16); /* msg_iov */
	if (call >= KL_OUT_IOV) {
		size = user_word(buffer + 8);
		buffer = user_word(buffer);
	}
	if (returned && event->ret < (s64)size)
		size = event->ret;
	keep(event, buffer, size);
}

static __always_inline struct kl_event *begin_call(u32 kind, u64 registers, u64 number)
{
	struct kl_event *event = begin_of_current(kind);

	if (!event)
		return NULL;
	event->number = number;
	event->arg[0] = register_at(registers, KL_ARG0);
	event->arg[1] = register_at(registers, KL_ARG1);
	event->arg[2] = register_at(registers, KL_ARG2);
	return event;
}

SEC("raw_tracepoint/sys_enter")
int record_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	u32 number = ctx->args[1], *call;
	struct kl_event *event;

	if (reads_clock(number) || turn_gate(number) || !gate_is_open() || !row_of_current())
		return 0;
	call = kl_calls.lookup(&number);
	event = begin_call(KL_CALL, ctx->args[0], number);
	if (!event)
		return 0;
	if (call && (*call == KL_OUT || *call == KL_OUT_IOV || *call == KL_OUT_MSG))
		keep_of_call(event, *call, false);
	kl_events.ringbuf_submit(event, 0);
	return 0;
}

SEC("raw_tracepoint/sys_exit")
int record_sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u32 number = register_at(ctx->args[0], KL_NUMBER), *call;
	struct kl_event *event;

	if (number == KL_MARK || reads_clock(number) || !gate_is_open() || !row_of_current())
		return 0;
	call = kl_calls.lookup(&number);
	event = begin_call(KL_RETURN, ctx->args[0], number);
	if (!event)
		return 0;
	event->ret = ctx->args[1];
	if (event->ret > 0 && call && (*call == KL_IN || *call == KL_IN_IOV || *call == KL_IN_MSG))
		keep_of_call(event, *call, true);
	kl_events.ringbuf_submit(event, 0);
	return 0;
}

/* Current is still the one that leaves. Who comes, is told by the next switch: it leaves then. */
SEC("raw_tracepoint/sched_switch")
int record_sched_switch(struct bpf_raw_tracepoint_args *ctx)
{
	struct kl_event *event;

	if (bpf_get_smp_processor_id() != KL_CPU || !gate_is_open())
		return 0;
	event = begin_of_current(KL_SWITCH);
	if (!event)
		return 0;
	kl_events.ringbuf_submit(event, 0);
	return 0;
}

/* Without the process: before Linux 6.10 cgroup_skb may not ask for it. It is that of the next event of a tracepoint. */
static __always_inline int record_segment(struct __sk_buff *skb, u32 kind)
{
	u8 ip[20], tcp[20];
	u32 at, size;
	struct kl_event *event;

	if (!gate_is_open() || bpf_skb_load_bytes(skb, 0, ip, sizeof(ip)) || ip[0] >> 4 != 4 ||
	    ip[9] != IPPROTO_TCP)
		return 1;
	at = (ip[0] & 15) * 4;
	if (bpf_skb_load_bytes(skb, at, tcp, sizeof(tcp)))
		return 1;
	event = begin(kind);
	if (!event)
		return 1;
	event->cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(&event->saddr, ip + 12, 4);
	__builtin_memcpy(&event->daddr, ip + 16, 4);
	event->sport = tcp[0] << 8 | tcp[1];
	event->dport = tcp[2] << 8 | tcp[3];
	event->number = tcp[13];
	at += (tcp[12] >> 4) * 4;
	event->length = skb->len - at;
	size = event->length > KL_DATA ? KL_DATA : event->length;
	/* The verifier wants a bound that it can see, and no empty read. */
	size = ((size - 1) & (KL_DATA - 1)) + 1;
	if (event->length && !bpf_skb_load_bytes(skb, at, event->data, size))
		event->kept = size;
	kl_events.ringbuf_submit(event, 0);
	return 1;
}

SEC("cgroup_skb/egress")
int record_send(struct __sk_buff *skb)
{
	return record_segment(skb, KL_SEND);
}

SEC("cgroup_skb/ingress")
int record_receive(struct __sk_buff *skb)
{
	return record_segment(skb, KL_RECEIVE);
}

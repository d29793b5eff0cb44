/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The records of the ring buffers: what the programs tell user space.
 *
 * Addresses are NET; ports are HOST in Kmesh's records and PORT in ours. A ring buffer does not clear its memory, so in
 * tcp_probe_info what is not written keeps the bytes of an older record: `protocol` always, and the tail of IPv4 tuples.
 * Layouts of tcp_probe_info and auth_request: Kmesh bpf/kmesh/probes/tcp_probe.h and workload/sockops.c.
 */
#ifndef KL_RECORDS_H
#define KL_RECORDS_H

/* tcp_probe_info.type, auth_request.type; IPv4-mapped connections count as IPv4 */
enum {
	RECORD_IPV4 = 0,
	RECORD_IPV6 = 1,
};

struct orig_dst_info {
	union {
		struct {
			__u32 addr;
			__u16 port;
		} ipv4;
		struct {
			__u32 addr[4];
			__u16 port;
		} ipv6;
	};
};

/* km_tcp_probe: a connection was established, closed, or is still there */
struct tcp_probe_info {
	__u32 type;
	struct bpf_sock_tuple tuple; /* source is the client, also in a record of the accepting side */
	struct orig_dst_info orig_dst; /* zero when there is none */
	__u32 sent_bytes; /* acknowledged by the peer; FIN counts, and an own SYN; wraps at 4 GiB */
	__u32 received_bytes;
	__u32 conn_success;
	__u32 direction; /* INBOUND, OUTBOUND */
	__u32 state;	 /* BPF_TCP_ESTABLISHED, BPF_TCP_CLOSE */
	__u64 duration;	 /* ns, last_report_ns - start_ns */
	__u64 start_ns;
	__u64 last_report_ns;
	__u32 protocol; /* never written */
	__u32 srtt_us;	/* smoothed round-trip time, in eighths of a microsecond */
	__u32 rtt_min;	/* microseconds */
	__u32 total_retrans;
	__u32 lost_out;
};

/* km_auth_req: somebody connected to a managed pod; is it allowed? */
struct auth_request {
	__u32 type;
	struct bpf_sock_tuple tuple; /* client -> server */
};

/* kl_trace (ours): one step of one connection through the programs */
struct kl_step {
	__u64 ktime_ns;
	__u64 cookie;	/* SO_COOKIE of the socket */
	__u32 step;	/* enum kl_step_kind in trace.h */
	__u32 line;	/* the line of C that reported */
	__s32 ret;	/* what the step returned: 0 or a negative errno */
	__u32 id;	/* what was looked up: upstream_id, service_id or backend_uid */
	__u32 found;	/* what was found: upstream_id, lb_policy, backend_uid */
	__u32 prio;	/* of the endpoint */
	__u32 index;	/* of the endpoint, from 1 */
	__u32 family;	/* of the address: AF_INET, AF_INET6 */
	__u32 addr[4];	/* NET */
	__u32 port;	/* PORT, see workload.h */
	__u32 reserved; /* what follows is 8 bytes wide: so that nothing is padding */
	__u64 netns;	/* cookie of the pod's network namespace, KL_CONNECT only */
};

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * km_sockstorage: what one socket remembers from connect() to close().
 *
 * It belongs to the socket, not to the connection: a socket that connects a second time keeps the first
 * original destination and the waypoint mark (Kmesh does so too).
 * Layout: Kmesh bpf/include/bpf_common.h.
 */
#ifndef KL_SOCK_STORAGE_H
#define KL_SOCK_STORAGE_H

enum {
	DIRECTION_INVALID = 0,
	INBOUND = 1,  /* this side accepted */
	OUTBOUND = 2, /* this side connected */
};

struct sock_storage_data {
	__u64 connect_ns;     /* HOST; ktime of connect(), or of establishment if accepted */
	__u64 last_report_ns; /* HOST; ktime of the last km_tcp_probe record, or 0 */
	__u8 direction;
	__u8 connect_success;
	__u8 via_waypoint; /* set once, never cleared */
	__u8 has_encoded;  /* the TLV was pushed, or at least tried */
	__u8 has_set_ip;   /* sk_tuple holds the original destination */
	/* NET; only daddr and dport are used */
	struct bpf_sock_tuple sk_tuple;
};

#endif

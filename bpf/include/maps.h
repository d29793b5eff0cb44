/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map, and every operation a program needs on one, as a typed inline function.
 *
 * bcc has its own dialect for maps (km_frontend.lookup(&key)), plain clang has libbpf's (bpf_map_lookup_elem): this file
 * picks one, and no other file has to care. They are functions because bcc does not rewrite its methods inside macros.
 */
#ifndef KL_MAPS_H
#define KL_MAPS_H

#ifdef KL_BCC
#include "bcc.h"
#else
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#define LICENSE(text) char _license[] SEC("license") = text
#endif

/* Constants that the UAPI headers of both toolchains leave to user space's libc. */
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define ENOENT 2
#define EINVAL 22

#include "workload.h"
#include "sock_storage.h"
#include "records.h"

/* What a node's agent can switch while the programs run. All zero, as the map starts, is Kmesh's default. */
struct kl_config {
	__u32 monitoring_off;  /* 1: no km_tcp_probe records (Kmesh: enable_monitoring = 0) */
	__u32 periodic_report; /* 1: every 5 s, too (Kmesh: enable_periodic_report = 1) */
	__u32 node_ip[4];      /* NET; the kubelet probes from here. IPv4 as ::ffff:a.b.c.d */
	__u32 pod_gateway[4];  /* NET; likewise */
};

/* Records that found their ring buffer full. Kmesh writes a log line instead. */
struct kl_lost {
	__u64 tcp_probe;
	__u64 auth_req;
	__u64 trace;
};

#ifdef KL_BCC
#include "maps_bcc.h"
#else
#include "maps_libbpf.h"
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rows of the km_* maps: what user space writes and the programs read.
 *
 * Byte orders, stated once and named so in every comment below:
 *   NET   big-endian bytes, as on the wire
 *   HOST  the CPU's order
 *   PORT  a __u32 whose first two bytes are the port in NET order and whose other two are zero: 80 is 00 50 00 00.
 *         That is how the kernel hands over bpf_sock_addr.user_port, so a port is compared without converting it.
 *
 * An IPv4 address takes the first 4 of the 16 bytes; the other 12 must be zero, or a hash lookup misses.
 * Layouts: Kmesh bpf/kmesh/workload/include/workload.h.
 */
#ifndef KL_WORKLOAD_H
#define KL_WORKLOAD_H

#define MAP_SIZE_OF_FRONTEND 105000
#define MAP_SIZE_OF_SERVICE 5000
#define MAP_SIZE_OF_ENDPOINT 105000
#define MAP_SIZE_OF_BACKEND 100000
#define MAP_SIZE_OF_MANAGER 8192
#define MAP_SIZE_OF_AUTH 8192
#define MAP_SIZE_OF_SOCKET 8192
#define MAP_SIZE_OF_TAIL_CALL 8
#define TCP_PROBE_RING_SIZE 262144 /* bytes */
#define AUTH_REQ_RING_SIZE 4096	   /* bytes */

#define PRIO_COUNT 7	     /* priorities 0 (best) to 6 */
#define MAX_PORT_COUNT 10    /* ports of one service */
#define MAX_SERVICE_COUNT 10 /* services of one backend */

/* service_value.lb_policy */
enum {
	LB_POLICY_RANDOM = 0,	/* any endpoint, no locality */
	LB_POLICY_STRICT = 1,	/* only endpoints that match the whole routing preference */
	LB_POLICY_FAILOVER = 2, /* the best priority that has an endpoint */
};

union ip_addr {
	__u32 ip4;    /* NET */
	__u32 ip6[4]; /* NET */
};

/* km_frontend: the address a client asked for -> a service, or a pod */
struct frontend_key {
	union ip_addr addr; /* service VIP or pod IP */
};

struct frontend_value {
	__u32 upstream_id; /* HOST; a service_id, or the backend_uid of a pod */
};

/* km_service */
struct service_key {
	__u32 service_id; /* HOST */
};

struct service_value {
	__u32 prio_endpoint_count[PRIO_COUNT]; /* HOST; endpoints stored at each priority */
	__u32 lb_policy;		       /* HOST; LB_POLICY_* */
	__u32 service_port[MAX_PORT_COUNT];    /* PORT; 0 = unused slot */
	__u32 target_port[MAX_PORT_COUNT];     /* PORT; paired with service_port by index */
	union ip_addr wp_addr;		       /* waypoint */
	__u32 waypoint_port;		       /* PORT; 0 = no waypoint */
};

/* km_endpoint */
struct endpoint_key {
	__u32 service_id;    /* HOST */
	__u32 prio;	     /* HOST; 0 is best */
	__u32 backend_index; /* HOST; counts from 1 */
};

struct endpoint_value {
	__u32 backend_uid; /* HOST */
};

/* km_backend: one pod. backend_uid 0 is the DNS proxy. */
struct backend_key {
	__u32 backend_uid; /* HOST */
};

struct backend_value {
	union ip_addr addr;		  /* pod IP */
	__u32 service_count;		  /* HOST; used slots of service[], not read here */
	__u32 service[MAX_SERVICE_COUNT]; /* HOST; service ids, not read here */
	union ip_addr wp_addr;		  /* waypoint of the pod itself */
	__u32 waypoint_port;		  /* PORT; 0 = no waypoint */
};

/* km_manage: who is in the mesh. A pod has two rows, one by network namespace, one by address. */
union manager_key {
	__u64 netns_cookie; /* HOST */
	union ip_addr addr;
};

#endif

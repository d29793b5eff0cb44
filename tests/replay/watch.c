// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the harness adds to the programs under test, in bcc's dialect.
 *
 * Observers: at each address hook, attached after the program under test. Programs of one cgroup run in the order in
 * which they were attached, so an observer sees the address and port that the program under test left in the context.
 * Steering: whatever address a TCP SYN has, the harness' listener of that namespace gets it, so every connect completes.
 */
#define SEC(name)
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define IPPROTO_TCP 6
#define MAX_SEEN 64

/* The runs of hooks, a column for each field. User space maps this memory: it reads the runs and sets count to 0. */
struct seen_log {
	u32 count;
	u32 hook[MAX_SEEN]; /* BPF_CGROUP_* */
	u32 family[MAX_SEEN];
	u32 user_family[MAX_SEEN];
	u32 port[MAX_SEEN];  /* as in the context */
	u32 addr0[MAX_SEEN]; /* NET; IPv4 is only this one */
	u32 addr1[MAX_SEEN];
	u32 addr2[MAX_SEEN];
	u32 addr3[MAX_SEEN];
};

BPF_F_TABLE("array", int, struct seen_log, seen, 1, BPF_F_MMAPABLE);

/* bcc's own sockmap has no lookup(), which gives a program the socket itself. */
struct listeners_table_t {
	int key;
	u64 leaf;
	void *(*lookup)(int *);
	u32 max_entries;
};
__attribute__((section("maps/sockmap"))) struct listeners_table_t listeners = { .max_entries = 2 };

/* The row for this run; NULL if the log is full, then only count tells. */
static __always_inline struct seen_log *see(struct bpf_sock_addr *ctx, u32 hook, u32 *row)
{
	int zero = 0;
	struct seen_log *log = seen.lookup(&zero);
	u32 at;

	if (!log)
		return NULL;
	at = log->count++;
	if (at >= MAX_SEEN)
		return NULL;
	log->hook[at] = hook;
	log->family[at] = ctx->family;
	log->user_family[at] = ctx->user_family;
	log->port[at] = ctx->user_port;
	*row = at;
	return log;
}

static __always_inline int see4(struct bpf_sock_addr *ctx, u32 hook)
{
	u32 row = 0;
	struct seen_log *log = see(ctx, hook, &row);

	if (log && row < MAX_SEEN)
		log->addr0[row] = ctx->user_ip4;
	return 1;
}

static __always_inline int see6(struct bpf_sock_addr *ctx, u32 hook)
{
	u32 row = 0;
	struct seen_log *log = see(ctx, hook, &row);

	if (log && row < MAX_SEEN) {
		log->addr0[row] = ctx->user_ip6[0];
		log->addr1[row] = ctx->user_ip6[1];
		log->addr2[row] = ctx->user_ip6[2];
		log->addr3[row] = ctx->user_ip6[3];
	}
	return 1;
}

SEC("cgroup/connect4")
int see_connect4(struct bpf_sock_addr *ctx)
{
	return see4(ctx, BPF_CGROUP_INET4_CONNECT);
}

SEC("cgroup/connect6")
int see_connect6(struct bpf_sock_addr *ctx)
{
	return see6(ctx, BPF_CGROUP_INET6_CONNECT);
}

SEC("cgroup/sendmsg4")
int see_sendmsg4(struct bpf_sock_addr *ctx)
{
	return see4(ctx, BPF_CGROUP_UDP4_SENDMSG);
}

SEC("cgroup/sendmsg6")
int see_sendmsg6(struct bpf_sock_addr *ctx)
{
	return see6(ctx, BPF_CGROUP_UDP6_SENDMSG);
}

SEC("cgroup/recvmsg4")
int see_recvmsg4(struct bpf_sock_addr *ctx)
{
	return see4(ctx, BPF_CGROUP_UDP4_RECVMSG);
}

SEC("cgroup/recvmsg6")
int see_recvmsg6(struct bpf_sock_addr *ctx)
{
	return see6(ctx, BPF_CGROUP_UDP6_RECVMSG);
}

/* Empty slot: no listener, the kernel goes on as without this program. */
static __always_inline int steer(struct bpf_sk_lookup *ctx, int slot)
{
	struct bpf_sock *listener;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	listener = listeners.lookup(&slot);
	if (!listener)
		return SK_PASS;
	bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	return SK_PASS;
}

SEC("sk_lookup")
int steer_first(struct bpf_sk_lookup *ctx)
{
	return steer(ctx, 0);
}

SEC("sk_lookup")
int steer_second(struct bpf_sk_lookup *ctx)
{
	return steer(ctx, 1);
}

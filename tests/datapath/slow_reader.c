// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs of bpf/, but a reader of km_service takes a millisecond or two before it looks the endpoint up.
 *
 * lb_pick() asks for a random number between reading the count and reading km_endpoint: that is the window in which a
 * writer can delete the row. What it gets instead of chance is the last endpoint, which is the one that Kmesh deletes.
 */
#include "../../bpf/include/maps.h"

#define SLOW_NS 1500000
#define COPIES 2000 /* of a microsecond each, or more; the verifier goes through all of them */

/* Something that takes a helper long: a copy of 64 kB. */
struct ballast {
	char bytes[65536];
};
BPF_ARRAY(kl_ballast, struct ballast, 2);

static __always_inline __u32 slow_prandom(void)
{
	__u64 end = bpf_ktime_get_ns() + SLOW_NS;
	int from = 0, to = 1;
	struct ballast *ballast = kl_ballast.lookup(&from);

	for (int copies = 0; ballast && copies < COPIES && bpf_ktime_get_ns() < end; copies++)
		kl_ballast.update(&to, ballast);
	return 1; /* of two endpoints the second, of one the first */
}

#define bpf_get_prandom_u32 slow_prandom

#include "../../bpf/kmesh.c"

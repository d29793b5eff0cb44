// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sendmsg.c with one function replaced: every socket is found to go to a waypoint, and wanted to go to 10.96.0.10:80.
 *
 * The preprocessor replaces the name before the program is read, so the program itself is not changed by a letter.
 * A test of sendmsg_prog with this needs neither a connect program nor sockops_prog nor a waypoint.
 */
#include "../include/maps.h"

static __always_inline struct sock_storage_data *mock_sock_storage_lookup(struct bpf_sock *sk)
{
	struct sock_storage_data *storage = sock_storage_create(sk);

	if (!storage || storage->has_set_ip)
		return storage;
	storage->sk_tuple.ipv4.daddr = bpf_htonl(0x0a60000a);
	storage->sk_tuple.ipv4.dport = bpf_htons(80);
	storage->has_set_ip = true;
	storage->via_waypoint = true;
	return storage;
}

#define sock_storage_lookup mock_sock_storage_lookup
#include "../sendmsg.c"

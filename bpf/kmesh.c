// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The one translation unit that bcc loads: all programs of a node, sharing its maps.
 * Plain clang builds the four files one by one, as Kmesh does (`make bpf`).
 */
#include "cgroup_sock.c"
#include "sockops.c"
#include "sendmsg.c"
#include "cgroup_skb.c"

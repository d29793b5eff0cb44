/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The TLV: where the client wanted to go, told to the waypoint in front of the first payload bytes.
 *
 * Type, length and value, then an end mark of type and length; all numbers NET.
 * IPv4: 01 00000006 <4 bytes> <port> fe 00000000 = 16 bytes.  IPv6: 01 00000012 <16 bytes> <port> fe 00000000 = 28 bytes.
 * Upstream: Kmesh bpf/kmesh/workload/sendmsg.c.
 */
#ifndef KL_TLV_H
#define KL_TLV_H

#define TLV_ORG_DST_ADDR 0x01
#define TLV_PAYLOAD 0xfe /* the end: the client's own bytes follow */
#define TLV_ORG_DST_ADDR4_LENGTH 6
#define TLV_ORG_DST_ADDR6_LENGTH 18

struct tlv_header {
	__u8 type;
	__u32 length;
} __attribute__((packed));

struct tlv_org_dst4 {
	struct tlv_header header;
	__u32 addr;
	__u16 port;
	struct tlv_header end;
} __attribute__((packed));

struct tlv_org_dst6 {
	struct tlv_header header;
	__u32 addr[4];
	__u16 port;
	struct tlv_header end;
} __attribute__((packed));

#endif

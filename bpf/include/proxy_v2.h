/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * PROXY protocol, version 2: the header by which proxies tell each other who talks to whom (ours, not Kmesh's).
 *
 * A stock Envoy cannot read Kmesh's TLV, but it can read this one (listener filter proxy_protocol). All numbers NET.
 * IPv4: 12 bytes of signature, 21 11 000c, two addresses, two ports = 28 bytes.  IPv6: the same, 21 21 0024 = 52 bytes.
 * Source: the PROXY protocol specification (haproxy, doc/proxy-protocol.txt), section 2.2.
 */
#ifndef KL_PROXY_V2_H
#define KL_PROXY_V2_H

/* "\r\n\r\n\0\r\nQUIT\n", as numbers: a string would be a map of its own in the plain build. */
#define PROXY_V2_SIGNATURE_1 0x0d0a0d0a
#define PROXY_V2_SIGNATURE_2 0x000d0a51
#define PROXY_V2_SIGNATURE_3 0x5549540a
/* Version 2, command PROXY: the addresses are those of somebody else's connection. */
#define PROXY_V2_PROXY 0x21
#define PROXY_V2_TCP4 0x11
#define PROXY_V2_TCP6 0x21

struct proxy_v2_header {
	__u32 signature[3];
	__u8 version_command;
	__u8 family;
	__u16 length; /* of what follows */
} __attribute__((packed));

struct proxy_v2_tcp4 {
	struct proxy_v2_header header;
	__u32 saddr;
	__u32 daddr;
	__u16 sport;
	__u16 dport;
} __attribute__((packed));

struct proxy_v2_tcp6 {
	struct proxy_v2_header header;
	__u32 saddr[4];
	__u32 daddr[4];
	__u16 sport;
	__u16 dport;
} __attribute__((packed));

static __always_inline void proxy_v2_header(struct proxy_v2_header *header, __u8 family, __u16 length)
{
	header->signature[0] = bpf_htonl(PROXY_V2_SIGNATURE_1);
	header->signature[1] = bpf_htonl(PROXY_V2_SIGNATURE_2);
	header->signature[2] = bpf_htonl(PROXY_V2_SIGNATURE_3);
	header->version_command = PROXY_V2_PROXY;
	header->family = family;
	header->length = bpf_htons(length - sizeof(*header));
}

#endif

"""The mistakes that tests/mutants.py plants in our C."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """In ``file``, ``old`` becomes ``new``; ``killers`` are the kinds of vectors that must notice."""

    name: str
    killers: str
    file: str
    old: str
    new: str


MUTANTS = (
    # ---- which pod
    Mutant(
        "the port is in host order",
        "connect",
        "include/backend.h",
        "kctx->dnat_port = service->target_port[slot];",
        "kctx->dnat_port = bpf_ntohs(service->target_port[slot]);",
    ),
    Mutant(
        "the port of the client is kept",
        "connect",
        "include/backend.h",
        "kctx->dnat_port = service->target_port[slot];",
        "kctx->dnat_port = service->service_port[slot];",
    ),
    Mutant(
        "ports are compared by 16 bits",
        "connect",
        "include/backend.h",
        "if (service->service_port[slot] != user_port)",
        "if ((__u16)service->service_port[slot] != (__u16)user_port)",
    ),
    Mutant(
        "endpoints count from 0",
        "connect",
        "include/service.h",
        "bpf_get_prandom_u32() % count + 1;",
        "bpf_get_prandom_u32() % count;",
    ),
    Mutant(
        "the first endpoint is preferred",
        "connect",
        "include/service.h",
        "bpf_get_prandom_u32() % count + 1;",
        "(bpf_get_prandom_u32() & 1 ? bpf_get_prandom_u32() % count : 0) + 1;",
    ),
    Mutant(
        "STRICT falls over",
        "connect",
        "include/service.h",
        "return lb_locality_strict_handle(service);",
        "return lb_locality_failover_handle(service);",
    ),
    Mutant(
        "FAILOVER tries the next priority after a miss",
        "connect",
        "include/service.h",
        "return lb_pick(kctx, service_id, service, prio);\n}",
        "int ret = lb_pick(kctx, service_id, service, prio);\n\n"
        "\tif (ret && service->lb_policy == LB_POLICY_FAILOVER && prio + 1 < PRIO_COUNT &&\n"
        "\t    service->prio_endpoint_count[prio + 1])\n"
        "\t\tret = lb_pick(kctx, service_id, service, prio + 1);\n"
        "\treturn ret;\n}",
    ),
    Mutant(
        "RANDOM looks at other priorities",
        "connect",
        "include/service.h",
        "return lb_random_handle(service);",
        "return service->prio_endpoint_count[0] ? 0 : lb_locality_failover_handle(service);",
    ),
    Mutant(
        "RANDOM without endpoints fails",
        "connect",
        "include/service.h",
        "if (count == 0)\n\t\treturn 0;",
        "if (count == 0)\n\t\treturn -ENOENT;",
    ),
    Mutant(
        "a mapped address is looked up as IPv6",
        "connect",
        "include/frontend.h",
        "else if (is_ipv4_mapped(kctx->orig_dst.ip6))",
        "else if (false)",
    ),
    Mutant(
        "an IPv4 pod is given to a mapped connect as it is",
        "connect",
        "cgroup_sock.c",
        "if (!is_ipv4_mapped(kctx->orig_dst.ip6) || is_ipv4_mapped(kctx->dnat_ip.ip6))",
        "if (true)",
    ),
    # ---- waypoints
    Mutant(
        "the waypoint of a pod behind a service is ignored",
        "connect",
        "include/backend.h",
        "if (backend->waypoint_port)",
        "if (false)",
    ),
    Mutant(
        "a service waypoint needs no address",
        "connect",
        "include/service.h",
        "service->wp_addr.ip4 != 0 && service->waypoint_port != 0",
        "service->waypoint_port != 0",
    ),
    Mutant(
        "no tail call",
        "connect",
        "cgroup_sock.c",
        "tail_call4(ctx, TAIL_CALL_CONNECT4);",
        ";",
    ),
    Mutant(
        "the last original destination is kept",
        "connect",
        "cgroup_sock.c",
        "if (storage->has_set_ip)\n\t\treturn;",
        "",
    ),
    Mutant(
        "the waypoint mark follows the last decision",
        "connect",
        "cgroup_sock.c",
        "if (kctx->via_waypoint)\n\t\tstorage->via_waypoint = true;",
        "storage->via_waypoint = kctx->via_waypoint;",
    ),
    # ---- port 53
    Mutant(
        "port 53 is like any other",
        "connect",
        "cgroup_sock.c",
        "if (ctx->user_port == DNS_PORT) {",
        "if (false) {",
    ),
    Mutant(
        "the asked server is not restored",
        "dns",
        "cgroup_sock.c",
        "ctx->user_ip4 = storage->sk_tuple.ipv4.daddr;",
        ";",
    ),
    Mutant(
        "only what the DNS proxy sends is restored",
        "dns",
        "cgroup_sock.c",
        "\tif (storage)\n\t\tctx->user_ip4 =",
        "\tif (storage && storage->has_set_ip)\n\t\tctx->user_ip4 =",
    ),
    # ---- the TLV
    Mutant(
        "a TLV before every message",
        "tlv",
        "sendmsg.c",
        "storage->has_encoded = true;",
        ";",
    ),
    Mutant(
        "a TLV of length 8",
        "tlv",
        "include/tlv.h",
        "#define TLV_ORG_DST_ADDR4_LENGTH 6",
        "#define TLV_ORG_DST_ADDR4_LENGTH 8",
    ),
    Mutant(
        "no end mark",
        "tlv",
        "sendmsg.c",
        "tlv->port = storage->sk_tuple.ipv4.dport;\n\ttlv->end.type = TLV_PAYLOAD;",
        "tlv->port = storage->sk_tuple.ipv4.dport;\n\ttlv->end.type = 0;",
    ),
    Mutant(
        "the TLV is IPv6 for every socket",
        "tlv",
        "sendmsg.c",
        "pushed = ipv4 ? encode_org_dst4(msg, storage) : encode_org_dst6(msg, storage);",
        "pushed = encode_org_dst6(msg, storage);",
    ),
    Mutant(
        "every connection gets a TLV",
        "tlv",
        "sockops.c",
        "if (!storage || !storage->via_waypoint)",
        "if (!storage || (storage->via_waypoint = true, false))",
    ),
    # ---- who is in the mesh
    Mutant(
        "the value in km_manage does not matter to sockops",
        "probe",
        "include/manage.h",
        "return value && *value == 0;",
        "return value;",
    ),
    Mutant(
        "the mapped control address is a command",
        "manage",
        "include/manage.h",
        "if (kctx->ctx->family == AF_INET)",
        "if (kctx->ctx->user_family == AF_INET)",
    ),
    Mutant(
        "port 930 leaves the address in km_manage",
        "manage",
        "sockops.c",
        "if (manage_by_port(&key, port))",
        "if (port == CONTROL_PORT_ENABLE && manage_by_port(&key, port))",
    ),
    # ---- what is reported
    Mutant(
        "reported ports are in network order",
        "probe",
        "include/probe.h",
        "tuple->ipv4.dport = bpf_ntohs(sk->dst_port);",
        "tuple->ipv4.dport = sk->dst_port;",
    ),
    Mutant(
        "an inbound connection is reported from the server's side",
        "probe",
        "include/probe.h",
        "if (direction == INBOUND)\n\t\tswap_sides(tuple, sk->family);",
        "",
    ),
    Mutant(
        "a mapped connection is reported as IPv6",
        "probe",
        "include/probe.h",
        "info->type = RECORD_IPV4;\n\t\ttuple_to_ipv4",
        "tuple_to_ipv4",
    ),
    Mutant(
        "no request for authorisation while monitoring is off",
        "probe",
        "sockops.c",
        "else\n\t\tauth_ip_tuple(sk);",
        "else if (is_monitoring_enabled())\n\t\tauth_ip_tuple(sk);",
    ),
    Mutant(
        "the kubelet is observed",
        "scenarios",
        "sockops.c",
        "if (is_managed(skops) && !is_probe(skops))",
        "if (is_managed(skops))",
    ),
    Mutant(
        "long connections report every 4 seconds",
        "periodic",
        "include/probe.h",
        "#define LONG_CONN_THRESHOLD_NS (5 * 1000000000ULL)",
        "#define LONG_CONN_THRESHOLD_NS (4 * 1000000000ULL)",
    ),
    Mutant(
        "a report does not start the next five seconds",
        "periodic",
        "include/probe.h",
        "storage->last_report_ns = bpf_ktime_get_ns();\n",
        "if (!storage->last_report_ns)\n\t\tstorage->last_report_ns = bpf_ktime_get_ns();\n",
    ),
)

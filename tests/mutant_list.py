"""The mistakes that tests/mutants.py plants in our C: those that learners' tests are graded by, and more."""

from __future__ import annotations

from kmesh_lab.testing.mutants import SUBJECTS, Mutant

MUTANTS = (
    *SUBJECTS["tlv"],
    *SUBJECTS["locality"],
    # ---- which pod
    Mutant(
        "the port is in host order",
        "connect",
        "include/backend.h",
        "kctx->dnat_port = service->target_port[slot];",
        "kctx->dnat_port = bpf_ntohs(service->target_port[slot]);",
    ),
    Mutant(
        "ports are compared by 16 bits",
        "connect",
        "include/backend.h",
        "if (service->service_port[slot] != user_port)",
        "if ((__u16)service->service_port[slot] != (__u16)user_port)",
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
        "ret = manage_by_port(&key, port);",
        "ret = port == CONTROL_PORT_ENABLE ? manage_by_port(&key, port) : 1;",
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

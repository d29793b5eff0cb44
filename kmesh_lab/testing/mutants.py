"""Mistakes to plant in our C: what a test of the programs has to notice.

`SUBJECTS` are those that tests are graded by; our own suite, which has more of them, proves that recorded behaviour of
the real Kmesh tells each from the right program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from kmesh_lab.datapath.datapath import TRACED
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.compiler import BPF_DIR, Image, compile_c, compile_text, flatten

__all__ = ["SUBJECTS", "Mutant", "image"]


@dataclass(frozen=True)
class Mutant:
    """In ``file`` of bpf/, ``old`` becomes ``new``; ``effect`` says what that does.

    ``killers`` are the kinds of recorded vectors that must notice, separated by spaces.
    """

    name: str
    killers: str
    file: str
    old: str
    new: str
    effect: str = ""

    def plant(self, text: str) -> str:
        """The text of the file with the mistake; raises `LabError` if the place is not there, or twice."""
        if text.count(self.old) != 1:
            raise LabError(f"bpf/{self.file} holds {self.old!r} {text.count(self.old)} times, not once")
        return text.replace(self.old, self.new)


@cache
def image(mutant: Mutant | None) -> Image:
    """The programs with a mistake, or without one, and with the trace; half a second the first time.

    Only the C files that the mistake is in, or that include it, are compiled again.
    """
    real = compile_c(BPF_DIR / "kmesh.c", TRACED)
    if mutant is None:
        return real

    def read(path: Path) -> str | None:
        text = path.read_text(encoding="utf-8") if path.is_file() else None
        return mutant.plant(text) if text and path == BPF_DIR / mutant.file else text

    programs = dict(real.programs)
    for unit in sorted(BPF_DIR.glob("*.c")):
        planted = flatten(unit, read)
        if unit.stem != "kmesh" and planted != flatten(unit):
            programs |= compile_text(planted, TRACED).programs
    return replace(real, programs=programs)


_TLV = (
    Mutant(
        "a TLV before every message",
        "tlv",
        "sendmsg.c",
        "storage->has_encoded = true;",
        ";",
        "Each send() gets a TLV, so a waypoint finds sixteen strange bytes in mid-stream.",
    ),
    Mutant(
        "a TLV of length 8",
        "tlv",
        "include/tlv.h",
        "#define TLV_ORG_DST_ADDR4_LENGTH 6",
        "#define TLV_ORG_DST_ADDR4_LENGTH 8",
        "The length field says 8 where address and port are 6 bytes.",
    ),
    Mutant(
        "no end mark",
        "tlv",
        "sendmsg.c",
        "tlv->port = storage->sk_tuple.ipv4.dport;\n\ttlv->end.type = TLV_PAYLOAD;",
        "tlv->port = storage->sk_tuple.ipv4.dport;\n\ttlv->end.type = 0;",
        "The byte that ends the TLVs is 0 instead of 0xfe.",
    ),
    Mutant(
        "the TLV is IPv6 for every socket",
        "tlv",
        "sendmsg.c",
        "pushed = ipv4 ? encode_org_dst4(msg, storage) : encode_org_dst6(msg, storage);",
        "pushed = encode_org_dst6(msg, storage);",
        "An IPv4 socket gets the 28 bytes of IPv6.",
    ),
    Mutant(
        "every connection gets a TLV",
        "tlv",
        "sockops.c",
        "if (!storage || !storage->via_waypoint)",
        "if (!storage || (storage->via_waypoint = true, false))",
        "A connection that goes to a pod directly gets a TLV too, which no server understands.",
    ),
    Mutant(
        "the last original destination is kept",
        "connect",
        "cgroup_sock.c",
        "if (storage->has_set_ip)\n\t\treturn;",
        "",
        "The TLV names the waypoint, where the connection goes, not the service that was asked for.",
    ),
    Mutant(
        "the port in the TLV is in host order",
        "tlv",
        "sendmsg.c",
        "tlv->port = storage->sk_tuple.ipv4.dport;",
        "tlv->port = bpf_ntohs(storage->sk_tuple.ipv4.dport);",
        "Port 80 arrives as 20480.",
    ),
    Mutant(
        "the address in the TLV is 0.0.0.0",
        "tlv",
        "sendmsg.c",
        "tlv->addr = storage->sk_tuple.ipv4.daddr;",
        "tlv->addr = 0;",
        "The TLV has its form and its port, and no address.",
    ),
    Mutant(
        "the TLV has another type",
        "tlv",
        "sendmsg.c",
        "tlv->header.type = TLV_ORG_DST_ADDR;\n\ttlv->header.length = bpf_htonl(TLV_ORG_DST_ADDR4_LENGTH);",
        "tlv->header.type = 2;\n\ttlv->header.length = bpf_htonl(TLV_ORG_DST_ADDR4_LENGTH);",
        "The first byte is 2, which means nothing.",
    ),
    Mutant(
        "no end mark behind an IPv6 address",
        "tlv",
        "sendmsg.c",
        "tlv->port = storage->sk_tuple.ipv6.dport;\n\ttlv->end.type = TLV_PAYLOAD;",
        "tlv->port = storage->sk_tuple.ipv6.dport;\n\ttlv->end.type = 0;",
        "Only sockets of IPv6, or of IPv4-mapped addresses, get a TLV without its end.",
    ),
    Mutant(
        "sendmsg_prog does nothing",
        "tlv",
        "sendmsg.c",
        "if (!storage)\n\t\treturn SK_PASS;",
        "if (!storage || true)\n\t\treturn SK_PASS;",
        "No connection gets a TLV.",
    ),
    Mutant(
        "no socket gets into km_socket",
        "tlv",
        "sockops.c",
        "ret = socket_insert(skops, &key);",
        "ret = 0;",
        "sockops_prog does not put the socket into the sockhash, so sendmsg_prog never runs.",
    ),
)

_LOCALITY = (
    Mutant(
        "endpoints count from 0",
        "connect",
        "include/service.h",
        "bpf_get_prandom_u32() % count + 1;",
        "bpf_get_prandom_u32() % count;",
        "Index 0 is looked up, which no row has, and the last row is never used.",
    ),
    Mutant(
        "the first endpoint is preferred",
        "connect",
        "include/service.h",
        "bpf_get_prandom_u32() % count + 1;",
        "(bpf_get_prandom_u32() & 1 ? bpf_get_prandom_u32() % count : 0) + 1;",
        "Of two endpoints the first one gets three quarters of the connects.",
    ),
    Mutant(
        "STRICT falls over",
        "connect",
        "include/service.h",
        "return lb_locality_strict_handle(service);",
        "return lb_locality_failover_handle(service);",
        "STRICT goes on to further priorities, as FAILOVER does.",
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
        "When the row that was picked is missing, FAILOVER takes the next priority. Kmesh does not.",
    ),
    Mutant(
        "the port of the client is kept",
        "connect",
        "include/backend.h",
        "kctx->dnat_port = service->target_port[slot];",
        "kctx->dnat_port = service->service_port[slot];",
        "The connection goes to the right pod, at the port of the service.",
    ),
    Mutant(
        "a mapped address is looked up as IPv6",
        "connect",
        "include/frontend.h",
        "else if (is_ipv4_mapped(kctx->orig_dst.ip6))",
        "else if (false)",
        "A client that asks for ::ffff:10.96.0.10 finds no service.",
    ),
    Mutant(
        "always the first endpoint",
        "connect",
        "include/service.h",
        "bpf_get_prandom_u32() % count + 1;",
        "1;",
        "Of the endpoints at a priority only the first one is used.",
    ),
    Mutant(
        "STRICT is no policy",
        "connect",
        "include/service.h",
        "return lb_locality_strict_handle(service);",
        "return -EINVAL;",
        "A service with STRICT leaves every connection alone, also where an endpoint is near.",
    ),
    Mutant(
        "FAILOVER is STRICT",
        "connect",
        "include/service.h",
        "return lb_locality_failover_handle(service);",
        "return lb_locality_strict_handle(service);",
        "FAILOVER gives up when nobody is at priority 0.",
    ),
    Mutant(
        "FAILOVER takes the last priority",
        "connect",
        "include/service.h",
        "for (int prio = 0; prio < PRIO_COUNT; prio++) {",
        "for (int prio = PRIO_COUNT - 1; prio >= 0; prio--) {",
        "FAILOVER takes the farthest endpoint.",
    ),
    Mutant(
        "FAILOVER looks at three priorities",
        "connect",
        "include/service.h",
        "for (int prio = 0; prio < PRIO_COUNT; prio++) {",
        "for (int prio = 0; prio < 3; prio++) {",
        "An endpoint at priority 3 or more, in another region for example, is never found.",
    ),
    Mutant(
        "rows of priority 0 whatever was chosen",
        "connect",
        "include/service.h",
        "{ .service_id = service_id, .prio = prio };",
        "{ .service_id = service_id };",
        "FAILOVER chooses priority 1 and then reads a row of priority 0.",
    ),
    Mutant(
        "connect4 decides nothing",
        "connect",
        "cgroup_sock.c",
        "ret = sock_traffic_control(&kctx);\n\tif (ret == 0) {\n\t\tctx->user_ip4",
        "ret = -ENOENT;\n\tif (ret == 0) {\n\t\tctx->user_ip4",
        "As if no program were attached for IPv4: every connection goes where the client asked for.",
    ),
    Mutant(
        "connect6 decides nothing",
        "connect",
        "cgroup_sock.c",
        "ret = sock_traffic_control(&kctx);\n\tif (ret == 0) {\n\t\tmap_dnat",
        "ret = -ENOENT;\n\tif (ret == 0) {\n\t\tmap_dnat",
        "As if no program were attached for IPv6: clients with an AF_INET6 socket are left alone.",
    ),
)

SUBJECTS: Mapping[str, tuple[Mutant, ...]] = {"tlv": _TLV, "locality": _LOCALITY}
"""What learners write tests for: the TLV of sendmsg.c, and the choice of an endpoint in service.h."""

"""connect: where does a connect go, and what does the socket remember?

Each vector lists every outcome Kmesh showed in many trials. Ours must show the same ones, none more, none less, and
each about as often: all picks are random, so that is a test of two samples, and its limit is six standard deviations.
"""

from __future__ import annotations

import errno
import math
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import wire
from .bench import FAMILY, Bench, client_socket, peer_of
from .wire import names

_KNOWN = names("""
    id category note netns_managed tail_call_map connect config trials outcomes
    km_manage_before km_manage_changed km_manage_after
""")
_TAIL_CALLS = {"self": True, "none": False}
_PROTOCOLS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "udplite": (socket.SOCK_DGRAM, 136),
    "mptcp": (socket.SOCK_STREAM, 262),
}
_SIGMAS = 6.0
_NEVER = 1e-9  # an outcome that must have come by now, but for such a chance


class Connect:
    """One process' share of a connect file."""

    def __init__(self, bench: Bench, vectors: Sequence[Mapping[str, Any]], trials: int | None) -> None:
        self.bench, self.trials = bench, trials
        bench.serve_all()

    def begin(self) -> None:
        self.bench.steer()

    def replay(self, vector: Mapping[str, Any]) -> Iterator[str]:
        """The mismatches of one vector."""
        yield from wire.unknown_fields(vector, _KNOWN)
        yield from wire.unknown_connect(vector, _PROTOCOLS)
        bench, node = self.bench, self.bench.node
        before = _rows(bench, vector["km_manage_before"])
        after = _rows(bench, vector["km_manage_after"]) if "km_manage_after" in vector else before
        node.reset(vector["config"], before)
        node.tail_calls(wire.one_of(_TAIL_CALLS, vector["tail_call_map"], "tail_call_map"))
        found: dict[str, tuple[dict[str, Any], int]] = {}  # spelled out → the outcome, how often
        count = self.trials or vector["trials"]
        for _ in range(count):
            if vector["km_manage_changed"]:
                node.set_manage(before)
            outcome = _try(bench, vector["connect"])
            key = repr(outcome)
            found[key] = (outcome, found.get(key, (outcome, 0))[1] + 1)
            if node.manage() != after:
                yield f"km_manage {wire.rows(node.manage())}, recorded {wire.rows(after)}"
                return
        yield from _judge(vector, list(found.values()), count)


def _judge(vector: Mapping[str, Any], found: Sequence[tuple[dict[str, Any], int]], trials: int) -> Iterator[str]:
    allowed = [_allowed(outcome) for outcome in vector["outcomes"]]
    counts: Counter[int] = Counter()
    for outcome, count in found:
        which = next((number for number, one in enumerate(allowed) if not list(wire.differences(one, outcome))), None)
        if which is None:
            yield _describe(vector, outcome)
        else:
            counts[which] += count
    if counts.total() == trials:
        yield from _proportions(vector, counts, trials)


def _rows(bench: Bench, rows: list[dict[str, str]]) -> dict[bytes, bytes]:
    return {wire.filled(row["key_hex"], cookie=bench.cookie): bytes.fromhex(row["value_hex"]) for row in rows}


def _try(bench: Bench, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """One connect; what came of it, with the names the vectors use."""
    kind, protocol = wire.one_of(_PROTOCOLS, wanted["proto"], "connect.proto")
    node, family = bench.node, wire.one_of(FAMILY, wanted["family"], "connect.family")
    node.forget()
    with client_socket(family, kind, protocol) as sock:
        code = sock.connect_ex((wanted["ip"], wanted["port"]))
        seen = node.seen()
        readable = wanted["proto"] != "mptcp"
        found = {
            "hook_runs": len(seen),
            "target": seen[-1].place if seen else None,
            "connect_errno": errno.errorcode[code] if code else None,
            "peername": wire.sockaddr(peer_of(sock)),
            "storage": wire.storage(node.storage(sock), family == socket.AF_INET6) if readable else "not readable",
        }
    bench.hang_up()
    return found


def _allowed(outcome: Mapping[str, Any]) -> dict[str, Any]:
    allowed = {name: value for name, value in outcome.items() if name != "count"}
    if str(allowed["storage"]).startswith("not readable"):
        allowed["storage"] = "not readable"
    return allowed


def _describe(vector: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What was seen, and by how little it missed the nearest outcome."""
    outcomes = vector["outcomes"]
    nearest = min((list(wire.differences(_allowed(outcome), found)) for outcome in outcomes), key=len)
    targets = ", ".join(sorted({wire.text(outcome["target"]) for outcome in outcomes}))
    of = "the recorded outcome" if len(outcomes) == 1 else f"any of {len(outcomes)} outcomes (targets {targets})"
    return f"target {wire.text(found['target'])} is not {of}: {'; '.join(nearest)}"


def _proportions(vector: Mapping[str, Any], counts: Counter[int], trials: int) -> Iterator[str]:
    outcomes = vector["outcomes"]
    recorded = sum(outcome["count"] for outcome in outcomes)
    for number, outcome in enumerate(outcomes):
        share = outcome["count"] / recorded
        name = f"outcome {number + 1} of {len(outcomes)}: target {wire.text(outcome['target'])}"
        if not counts[number]:
            if share == 1 or (1 - share) ** trials < _NEVER:
                yield f"{name} never came in {trials} trials, recorded {outcome['count']} times in {recorded}"
            continue
        both = (outcome["count"] + counts[number]) / (recorded + trials)
        deviation = math.sqrt(both * (1 - both) * (1 / recorded + 1 / trials))
        if abs(counts[number] / trials - share) > _SIGMAS * deviation + 1e-12:
            yield f"{name} came {counts[number]} times in {trials}, recorded {outcome['count']} times in {recorded}"

"""scenarios: sequences whose end surprises, most of them defects of Kmesh that ours has, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from . import plays, plays_kernel, wire
from .bench import Bench
from .plays import Play
from .stage import Stage
from .wire import names

_KNOWN = names("id category note kind mode description config steps addresses variable")


KINDS: dict[str, Callable[[Stage, str], Play]] = {
    "reconnect-after-refused": plays.reconnect_after_refused,
    "disconnect-and-reuse": plays.disconnect_and_reuse,
    "netns-managed-address-not": plays.half_enrolled,
    "address-managed-netns-not": plays.half_enrolled,
    "mptcp": plays_kernel.mptcp,
    "send-while-connecting": plays_kernel.send_while_connecting,
    "tcp-fastopen": plays_kernel.tcp_fastopen,
    "same-4-tuple-two-netns": plays_kernel.same_4_tuple_two_netns,
    "zerocopy-completions": plays_kernel.zerocopy_completions,
    "refused-connect-is-not-reported": plays.refused_connect_is_not_reported,
    "managed-after-connect": plays.managed_after_connect,
    "unmanaged-after-connect": plays.unmanaged_after_connect,
    "fork": plays.fork,
    "reply": plays.reply,
    "control-by-one-family": plays.control_by_one_family,
    "probe-skip-node_ip": plays.probe_skip,
    "probe-skip-pod_gateway": plays.probe_skip,
    "km_socket-full": plays_kernel.km_socket_full,
}


class Scenarios:
    """One process' share of a scenarios file."""

    def __init__(self, bench: Bench, vectors: Sequence[Mapping[str, Any]], trials: int | None) -> None:
        self.bench = bench
        bench.serve_all(backlog=1024)
        bench.serve_second()

    def begin(self) -> None:
        self.bench.steer()

    def replay(self, vector: Mapping[str, Any]) -> Iterator[str]:
        """The mismatches of one vector."""
        yield from wire.unknown_fields(vector, _KNOWN)
        if vector["kind"] not in KINDS:
            raise wire.NotStaged(f"no scenario of kind {vector['kind']!r} is written yet: {vector.get('description')}")
        with ExitStack() as stack:
            stage = Stage(self.bench, vector, stack)
            stage.node.reset(vector["config"] or {}, stage.enrolled())
            self.bench.listen()
            play = KINDS[vector["kind"]](stage, vector["steps"][0]["step"])
            for number, step in enumerate(vector["steps"], 1):
                found = next(play) if number == 1 else play.send(step["step"])
                expected = {name: value for name, value in step.items() if name != "step"}
                if "km_manage" in expected:
                    expected["km_manage"] = sorted(expected["km_manage"], key=lambda row: row["key_hex"])
                yield from wire.differences(expected, found, f"step {number}: ")
            play.close()
        self.bench.hang_up()

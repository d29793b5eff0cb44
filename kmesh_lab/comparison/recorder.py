"""Every step of a path, as the kernel reports it: system calls, context switches, TCP segments."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Self

from kmesh_lab.comparison.counting import gate_switches
from kmesh_lab.comparison.load import How, Run, system_calls
from kmesh_lab.comparison.paths import Lane
from kmesh_lab.datapath.rows import Address
from kmesh_lab.errors import KernelNotSupported, LabError
from kmesh_lab.kernel.program import BPF_DIR, Module
from kmesh_lab.kernel.ringbuf import RingBuffer

__all__ = ["CALL", "RECEIVE", "RETURN", "SEND", "SWITCH", "Event", "Recorder", "recording_switches"]

CALL, RETURN, SWITCH, SEND, RECEIVE = 1, 2, 3, 4, 5  # enum kl_event_kind in bpf/watch/record.c

# Where struct pt_regs has what a system call was given: asm/ptrace.h. On arm64 x0 is the result at the end of a call.
_REGISTERS = {
    "x86_64": {"KL_ARG0": 112, "KL_ARG1": 104, "KL_ARG2": 96, "KL_NUMBER": 120},
    "aarch64": {"KL_ARG0": 272, "KL_ARG1": 8, "KL_ARG2": 16, "KL_NUMBER": 280},
}
_CALLS = {  # enum kl_call_kind: where the bytes of a call are
    "write": 1,
    "sendto": 1,
    "connect": 1,
    "read": 2,
    "recvfrom": 2,
    "writev": 3,
    "readv": 4,
    "sendmsg": 5,
    "recvmsg": 6,
}
_FIRST = 50  # requests before the one that is recorded: proxies open the connections that they keep
_PAUSE = 3  # ms after the answer, in which the path closes its connections


def recording_switches() -> dict[str, int]:
    """The ``-D`` switches of bpf/watch/record.c on this machine.

    Raises `kmesh_lab.errors.KernelNotSupported` if it is of a kind whose registers are not known.
    """
    registers = _REGISTERS.get(platform.machine())
    if registers is None:
        raise KernelNotSupported(f"no recording on {platform.machine()}: its registers are not known to the lab")
    return gate_switches() | registers


@dataclass(frozen=True, slots=True)
class Event:
    """One record of ``kl_events``; see bpf/watch/record.c for what each kind sets. ``time`` is in ns, of the kernel.

    ``process`` is 0 if it is not one of this PID namespace.
    """

    kind: int
    time: int
    process: int
    thread: int
    number: int
    ret: int
    arguments: tuple[int, ...]
    cookie: int
    source: Address
    destination: Address
    length: int
    data: bytes


class Recorder:
    """The recording programs on a lane, attached until `close`.

    Raises `kmesh_lab.errors.KernelNotSupported` where the kernel, or this kind of machine, cannot record.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane, self._stack = lane, ExitStack()
        numbers = {name: number for number, name in system_calls().items()}
        module = self._module = Module(BPF_DIR / "watch" / "record.c", recording_switches())
        self._stack.callback(module.close)
        try:
            self._fill("kl_calls", {numbers[name]: kind for name, kind in _CALLS.items() if name in numbers})
            self._ring = RingBuffer(module.maps["kl_events"])
            self._stack.callback(self._ring.close)
            # All sockets of the lab are in its cgroup or below.
            cgroup = os.open(lane.route.client.process.cgroup.parent.parent, os.O_RDONLY | os.O_CLOEXEC)
            self._stack.callback(os.close, cgroup)
            for name, section in module.sections.items():
                program = module.load(name)
                raw = section.startswith("raw_tracepoint/")
                link = program.attach_to_tracepoint() if raw else program.attach(cgroup)
                self._stack.callback(link.close)
            lane.client.run("new", *lane.route.target, count=_FIRST)
            # From here on the client's marks are heard.
            self._fill("kl_watched", {pid: row for row, pid in enumerate(lane.processes.values())})
        except BaseException:
            self.close()
            raise

    def record(self, how: How) -> tuple[Run, list[Event]]:
        """One request, and all that happened, in the order of time."""
        client, target = self.lane.client, self.lane.route.target
        run = client.run(how, *target, count=1, pause=_PAUSE)
        if run.wrong:
            raise LabError(f"path {self.lane.path.name!r}: the answer was wrong")
        layout = self._module.layouts["kl_events"][1]
        records = [layout.unpack(record) for record in self._ring.drain()]
        events = _events(records, self.lane.processes["client"])
        if lost := self._lost():
            raise LabError(f"path {self.lane.path.name!r}: {lost} events found the ring buffer full; record again")
        return run, events

    def _fill(self, name: str, rows: Mapping[int, int]) -> None:
        key, value = self._module.layouts[name]
        for one, other in rows.items():
            self._module.maps[name].update(key.struct.pack(one), value.struct.pack(other))

    def _lost(self) -> int:
        key, value = self._module.layouts["kl_lost"]
        found: int = value.struct.unpack(self._module.maps["kl_lost"].lookup(key.struct.pack(0)) or bytes(8))[0]
        return found

    def close(self) -> None:
        """Detach."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ip(word: int) -> IPv4Address:
    return IPv4Address(word.to_bytes(4, "little"))


def _events(records: Iterable[Mapping[str, Any]], last: int) -> list[Event]:
    """In the order of time. Who had the CPU when a segment passed is told by what comes next: a call of that process or
    the switch by which it leaves. At the end ``last`` closes the gate."""
    process, events = last, []
    for fields in sorted(records, key=lambda fields: -fields["ktime_ns"]):
        if fields["kind"] not in (SEND, RECEIVE):
            process = fields["process"]
        events.append(_event(fields, process))
    return events[::-1]


def _event(fields: Mapping[str, Any], process: int) -> Event:
    return Event(
        kind=fields["kind"],
        time=fields["ktime_ns"],
        process=process,
        thread=fields["thread"],
        number=fields["number"],
        ret=fields["ret"],
        arguments=fields["arg"],
        cookie=fields["cookie"],
        source=(_ip(fields["saddr"]), fields["sport"]),
        destination=(_ip(fields["daddr"]), fields["dport"]),
        length=fields["length"],
        data=bytes(fields["data"][: fields["kept"]]),
    )

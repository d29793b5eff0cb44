"""The data path of one node: the programs, their maps, and what they report.

The programs are attached to one cgroup by links, so the kernel takes them away with the process that made them, however
it ends. Two nodes are two `Datapath` objects with maps of their own, as on two machines with a Kmesh daemon each.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kmesh_lab.datapath.decision import Decision, Location, Step, Trail, step_address
from kmesh_lab.datapath.events import AuthRequest, Event, RecordParser
from kmesh_lab.datapath.publisher import Publisher
from kmesh_lab.datapath.rows import Rows
from kmesh_lab.datapath.views import MapViews
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.cgroup import forget_in_forked_child
from kmesh_lab.kernel.program import BPF_DIR, Image, Link, Module, Program
from kmesh_lab.kernel.ringbuf import RingBuffer
from kmesh_lab.kernel.source import enclosing_function
from kmesh_lab.mesh import Place

__all__ = ["TRACED", "Datapath", "Lost"]

TRACE_RING_SIZE = 1 << 20  # bytes; about 10,000 steps, or 1,500 connects between two looks
TRACED = {"KL_TRACE": 1, "KL_TRACE_RING_SIZE": TRACE_RING_SIZE}  # switches of the build with the decision trace

_ATTACHED = (  # to the cgroup; sendmsg_prog goes to km_socket instead
    "cgroup_connect4_prog",
    "cgroup_connect6_prog",
    "bpf_redirect_dns_send",
    "bpf_restore_dns_recv",
    "sockops_prog",
    "cgroup_skb_ingress_prog",
    "cgroup_skb_egress_prog",
)
_PROGRAMS = (*_ATTACHED, "sendmsg_prog")
_MAPS = (
    *(
        "km_frontend",
        "km_service",
        "km_endpoint",
        "km_backend",
        "km_manage",
        "km_socket",
        "km_sockstorage",
        "km_tcp_probe",
        "km_auth_req",
    ),
    *("km_cgr_tailcall", "km_cgr_tail6", "kl_config", "kl_lost"),
)
_TAIL_CALLS = (("km_cgr_tailcall", 0, "cgroup_connect4_prog"), ("km_cgr_tail6", 1, "cgroup_connect6_prog"))
_REMEMBERED = 10_000  # sockets whose steps are kept, the newest
_CALL = re.compile(r"\btrace_(lookup|address|endpoint|connect)\(")
_KIND = re.compile(r"\bKL_(\w+)")
_LINE = re.compile(r'^#line (\d+) "(.*)"$')
_ENUM = re.compile(r"enum kl_step_kind \{(.*?)\};", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that found their ring buffer full, since the programs were loaded."""

    tcp_probe: int
    auth_req: int
    trace: int


class Datapath:
    """The programs of a node, loaded, attached to ``cgroup`` and ready for a `Publisher` to fill the maps.

    ``trace=False`` loads the build without the decision trace, which is what benchmarks measure; ``proxy_v2``
    the one that sends a PROXY header to waypoints instead of the TLV; an image was built with `TRACED` or without.
    Raises `kmesh_lab.errors.CompileError` and `kmesh_lab.errors.VerifierError`; then nothing stays behind.
    """

    def __init__(
        self,
        cgroup: Path,
        place: Place | None = None,
        *,
        trace: bool = True,
        source: Path | Image = BPF_DIR / "kmesh.c",
        proxy_v2: bool = False,
    ) -> None:
        self._stack, self._cgroup = ExitStack(), cgroup
        self._lock = threading.Lock()
        self._steps: dict[int, list[Step]] = {}
        self._trails: weakref.WeakSet[Trail] = weakref.WeakSet()
        try:
            defines: dict[str, object] = {**TRACED} if trace else {}
            self._load(cgroup, defines | ({"KL_PROXY_V2": 1} if proxy_v2 else {}), source)
            self.rows = Rows(self.module.layouts)
            self.publisher = Publisher(self.maps, self.rows, place)
            self._stack.callback(self.publisher.settle)
            self.views = MapViews(self.maps, self.rows, self.publisher)
        except BaseException:
            self._stack.close()
            raise
        forget_in_forked_child(self)

    def _load(self, cgroup: Path, defines: Mapping[str, object], source: Path | Image) -> None:
        self.module = Module(source, defines)
        self._stack.callback(self.module.close)
        self.maps = self.module.maps
        path = BPF_DIR / "kmesh.c" if isinstance(source, Image) else source
        _require(path, "map", _MAPS, self.maps)
        _require(path, "program", _PROGRAMS, self.module.sections)
        self.programs: dict[str, Program] = {name: self.module.load(name) for name in self.module.sections}
        for array, index, name in _TAIL_CALLS:
            layout = self.module.layouts[array][0]
            self.maps[array].update(layout.struct.pack(index), layout.struct.pack(self.programs[name].fd))
        self.programs["sendmsg_prog"].attach_to_map(self.maps["km_socket"])
        descriptor = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in _ATTACHED:
                self._stack.callback(self.programs[name].attach(descriptor).close)
        finally:
            os.close(descriptor)
        self._rings = {}
        for name in ("km_tcp_probe", "km_auth_req", "kl_trace"):
            if name in self.maps:
                self._rings[name] = RingBuffer(self.maps[name])
                self._stack.callback(self._rings[name].close)
        layouts = self.module.layouts
        self.records = RecordParser(layouts["km_tcp_probe"][1], layouts["km_auth_req"][1])
        self._kinds = dict(_step_kinds(self.module.text))
        self._locations = _step_locations(self.module.text, path.parent.resolve())

    def attach(self, program: Program) -> Link:
        """Attach one more program to the node's cgroup, behind those that are there; detached with the node."""
        descriptor = os.open(self._cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            link = program.attach(descriptor)
        finally:
            os.close(descriptor)
        self._stack.callback(link.close)
        return link

    # ---- switches

    def configure(self, *, monitoring: bool = True, periodic_report: bool = False) -> None:
        """Set the switches that the running programs read; the defaults are Kmesh's."""
        key, value = self.module.layouts["kl_config"]
        config, index = self.maps["kl_config"], key.struct.pack(0)
        switches = {"monitoring_off": int(not monitoring), "periodic_report": int(periodic_report)}
        config.update(index, value.pack(**{**value.unpack(config.lookup(index) or bytes(value.size)), **switches}))

    # ---- what the programs report

    def lost(self) -> Lost:
        """How many records were dropped because nobody read the ring buffers in time."""
        key, value = self.module.layouts["kl_lost"]
        row = self.maps["kl_lost"].lookup(key.struct.pack(0))
        return Lost(**value.unpack(row)) if row else Lost(0, 0, 0)

    def events(self, wait_ms: int = 0) -> list[Event]:
        """The km_tcp_probe records since the last call."""
        with self._lock:
            return [self.records.event(record) for record in self._rings["km_tcp_probe"].drain(wait_ms)]

    def auth_requests(self, wait_ms: int = 0) -> list[AuthRequest]:
        """The km_auth_req records since the last call; only 85 fit into the ring buffer."""
        with self._lock:
            return [self.records.auth_request(record) for record in self._rings["km_auth_req"].drain(wait_ms)]

    def collect_trace(self) -> None:
        """Read the steps that wait in the ring buffer, which makes room for new ones."""
        with self._lock:
            self._read_trace()

    def decision(self, cookie: int) -> Decision:
        """The steps that the programs have reported so far for the socket with this cookie."""
        with self._lock:
            self._read_trace()
            return Decision(tuple(self._steps.get(cookie, ())))

    def trail(self) -> Trail:
        """The steps of all sockets, to be taken as they come; LabError when the build has no decision trace."""
        if "kl_trace" not in self.maps:
            raise LabError("this lab runs without the decision trace; Lab() with trace=True reports the steps")
        with self._lock:
            self._read_trace()
            past = sorted((step for steps in self._steps.values() for step in steps), key=lambda step: step.time_ns)
            trail = Trail(self.collect_trace, past)
            self._trails.add(trail)
            return trail

    def _read_trace(self) -> None:
        if "kl_trace" not in self._rings:
            return
        layout = self.module.layouts["kl_trace"][1]
        for record in self._rings["kl_trace"].drain():
            step = self._step(layout.unpack(record))
            self._steps.setdefault(step.cookie, []).append(step)
            for trail in self._trails:
                trail.add(step)
        while len(self._steps) > _REMEMBERED:
            del self._steps[next(iter(self._steps))]

    def _step(self, fields: dict[str, Any]) -> Step:
        kind = self._kinds.get(fields["step"], f"STEP_{fields['step']}")  # a learner may have added one
        return Step(
            kind=kind,
            time_ns=fields["ktime_ns"],
            cookie=fields["cookie"],
            ret=fields["ret"],
            id=fields["id"],
            found=fields["found"],
            prio=fields["prio"],
            index=fields["index"],
            address=step_address(fields["family"], fields["addr"], fields["port"]),
            location=self._locations.get((kind, fields["line"])),
            name=self.views.name_of,
            netns=fields["netns"],
        )

    def memory(self) -> int:
        """Bytes of kernel memory in all maps of the node, the lab's own included."""
        return sum(each.memory() for each in self.maps.values())

    def close(self) -> None:
        """Detach and free everything; a second time, do nothing. Raises what the last publication failed with."""
        with self._lock:  # nobody reads a ring buffer while it is unmapped
            self._stack.close()

    def forget(self) -> None:
        """Close the descriptors, in a forked child: the programs must not outlive the process that made them."""
        self.publisher.forget()
        self._stack.close()


def _require(source: Path, kind: str, names: Iterable[str], there: Mapping[str, object]) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        raise LabError(f"{source} has no {kind} {' and no '.join(missing)}; a data path needs all of bpf/kmesh.c")


def _step_kinds(text: str) -> Iterator[tuple[int, str]]:
    """Number → name of the step kinds, from the enum in trace.h."""
    enum = _ENUM.search(text)
    for name, number in re.findall(r"KL_(\w+) = (\d+)", enum[1] if enum else ""):
        yield int(number), name


@lru_cache(maxsize=8)
def _step_locations(text: str, folder: Path) -> Mapping[tuple[str, int], Location]:
    """(kind, line) → place in the source, for every call of the trace functions in the compiled text.

    Of a call over several lines the program reports the last one or the first, as the compiler likes it.
    """
    locations = {}
    path, number = Path(), 0
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if mark := _LINE.match(line):
            path, number = Path(mark[2]), int(mark[1])
            continue
        if _CALL.search(line) and "#define" not in line and "static" not in line:
            length = next((n for n in range(1, len(lines) - at) if ";" in lines[at + n - 1]), 1)
            kind = _KIND.search("\n".join(lines[at : at + length]))
            where = Location(_inside(path, folder, BPF_DIR), number, enclosing_function(path, number))
            for each in range(number, number + length):
                locations[kind[1] if kind else "ENDPOINT", each] = where
        number += 1
    return locations


def _inside(path: Path, *folders: Path) -> str:
    """The path relative to the first of the folders that it is in."""
    return next((str(path.relative_to(folder)) for folder in folders if path.is_relative_to(folder)), str(path))

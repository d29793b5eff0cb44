"""One request and every step of it, on a clock that all of them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from kmesh_lab.comparison.load import How, reserved_cpu, system_calls
from kmesh_lab.comparison.paths import Lane, Path, open_lane, path_named
from kmesh_lab.comparison.recorder import CALL, RECEIVE, RETURN, SEND, SWITCH, Event, Recorder
from kmesh_lab.comparison.stories import SYN, asked_address, call_story, segment_story
from kmesh_lab.datapath.decision import Location, Step
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import counted, one_line

__all__ = ["Kind", "Moment", "Recording", "Stretch", "follow"]

Kind = Literal["call", "decision", "redirect", "send", "receive", "switch"]

_TRIES = 8  # until nobody else had the CPU meanwhile
_CLOCK = 1000  # ns in a µs
_LAST = "clock_nanosleep"  # of the client: its pause at the end, which is no part of the request


@dataclass(frozen=True, slots=True)
class Moment:
    """A step: from ``start`` to ``end`` in µs since the request began, at a process of the path.

    ``label`` is a word or two, ``story`` a sentence. ``data`` is the beginning of the ``length`` bytes that it moved.
    ``location`` is the line of C that reported it, for the steps of our programs.
    """

    start: float
    end: float
    actor: str
    kind: Kind
    label: str
    story: str
    length: int = 0
    data: bytes = b""
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in µs in which one process had the CPU of the path; ``actor`` is empty for the rest of the machine."""

    start: float
    end: float
    actor: str


@dataclass(frozen=True, repr=False)
class Recording:
    """One request over one path: its `Moment` in order, who had the CPU when, and what the proxies say they forwarded.

    ``text`` is the C that was compiled, from which lines can be cut.
    """

    path: Path
    actors: tuple[str, ...]
    moments: tuple[Moment, ...]
    stretches: tuple[Stretch, ...]
    passed: Mapping[str, int]
    text: str

    @property
    def duration(self) -> float:
        """µs from the first step to the last."""
        return max((moment.end for moment in self.moments), default=0.0)

    @property
    def foreign(self) -> float:
        """µs in which somebody else had the CPU."""
        return sum(each.end - each.start for each in self.stretches if not each.actor)

    def count(self, kind: Kind) -> int:
        """How many steps of a kind there were."""
        return sum(moment.kind == kind for moment in self.moments)

    @property
    def calls(self) -> dict[str, dict[str, int]]:
        """System calls by process and name."""
        found: dict[str, Counter[str]] = {actor: Counter() for actor in self.actors}
        for moment in self.moments:
            if moment.kind == "call":
                found[moment.actor][moment.label] += 1
        return {actor: dict(calls) for actor, calls in found.items()}

    @property
    def shares(self) -> dict[str, tuple[float, float]]:
        """By process: µs on the CPU in its own code, and µs in the kernel, on its behalf."""
        found = {}
        for actor in self.actors:
            inside = [
                (moment.start, moment.end) for moment in self.moments if moment.actor == actor and moment.kind == "call"
            ]
            running = [(each.start, each.end) for each in self.stretches if each.actor == actor]
            whole = sum(end - start for start, end in running)
            kernel = sum(_overlap(one, other) for one in inside for other in running)
            found[actor] = max(0.0, whole - kernel), kernel
        return found

    def __repr__(self) -> str:
        calls, segments = counted(self.count("call"), "system call"), counted(self.count("send"), "segment")
        switches = f"{self.count('switch')} context switches"
        return one_line(f"<Recording of {self.path.name}: {calls}, {switches}, {segments}, {self.duration:.0f} µs>")

    def _repr_svg_(self) -> str:
        from kmesh_lab.comparison.timeline import draw

        return draw([self])


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def follow(path: str | Path, how: How = "new") -> Recording:
    """Ask once over a path, and record every step: "new" with a connection of its own, "keep" over one that is there.

    Of several requests that one is returned in which the rest of the machine disturbed least. The programs are those
    with the decision trace. Raises `kmesh_lab.errors.KernelNotSupported` where the kernel cannot record.
    """
    with (
        reserved_cpu(),
        open_lane(path if isinstance(path, Path) else path_named(path), trace=True) as lane,
        Recorder(lane) as recorder,
    ):
        best: Recording | None = None
        for _ in range(_TRIES):
            before = lane.route.passed()
            _, events = recorder.record(how)
            # The client asks once more, before it opens the gate.
            passed = {name: count - before[name] - 1 for name, count in lane.route.passed().items()}
            recording = _recording(lane, events, passed)
            if best is None or recording.foreign < best.foreign:
                best = recording
            if not best.foreign:
                break
        if best is None:
            raise AssertionError("a loop that runs at least once")
        return best


def _recording(lane: Lane, events: Sequence[Event], passed: Mapping[str, int]) -> Recording:
    actors = {pid: name for name, pid in lane.processes.items()}
    start, steps = events[0].time, list(_steps(lane, events))
    moments = [
        *_calls(events, actors, start),
        *_segments(events, actors, start, [step.cookie for step in steps if step.kind == "DNAT"]),
        *_decisions(steps, events, actors, start),
    ]
    last = max(moment.end for moment in moments)
    stretches = tuple(_stretches(events, actors, start, last))
    moments += _switches(stretches)
    moments.sort(key=lambda moment: (moment.start, -moment.end))
    text = next(iter(lane.nodes)).datapath.module.text
    return Recording(lane.path, tuple(lane.processes), tuple(moments), stretches, passed, text)


def _calls(events: Sequence[Event], actors: Mapping[int, str], start: int) -> Iterator[Moment]:
    """System calls from their begin to their end; one that has begun before is seen from the end on, for its result."""
    names, open_calls = system_calls(), dict[int, Event]()
    for event in events:
        if event.kind == CALL:
            open_calls[event.thread] = event
        if event.kind != RETURN:
            continue
        begun = open_calls.pop(event.thread, None)
        name = names.get(event.number, f"call {event.number}")
        if name == _LAST and actors[event.process] == "client":
            continue
        story = call_story(name, begun, event)
        data, length = (begun.data, begun.length) if begun and begun.data else (event.data, event.length)
        data, length = (b"", 0) if name == "connect" else (data, length)
        since = (begun or event).time - start
        yield Moment(
            since / _CLOCK, (event.time - start) / _CLOCK, actors[event.process], "call", name, story, length, data
        )


def _segments(
    events: Sequence[Event], actors: Mapping[int, str], start: int, rewritten: Collection[int]
) -> Iterator[Moment]:
    """TCP segments where they leave a socket and where they arrive, and the rules that change where they go."""
    asked: dict[int, str] = {}
    for event in events:
        if event.kind == CALL and (address := asked_address(event, system_calls())):
            asked[event.process] = address
        if event.kind not in (SEND, RECEIVE):
            continue
        at, actor = (event.time - start) / _CLOCK, actors.get(event.process, "")
        to = address_text(event.destination)
        if event.kind == SEND and event.number == SYN and asked.get(event.process, to) != to:
            wanted = asked[event.process]
            by_program = event.cookie in rewritten
            label, how = (
                ("rewritten", "a program has exchanged it") if by_program else ("REDIRECT", "netfilter's OUTPUT")
            )
            yield Moment(at, at, actor, "redirect", label, f"the SYN for {wanted} leaves for {to}: {how}")
        if event.kind == RECEIVE and event.number == SYN and (sent := _sent(events, event)):
            wanted = address_text(sent.destination)
            if wanted != to:
                story = f"the SYN for {wanted} comes in for {to}: netfilter's PREROUTING"
                yield Moment(at, at, actor, "redirect", "REDIRECT", story)
        kind: Kind = "send" if event.kind == SEND else "receive"
        label, story = segment_story(event, kind)
        yield Moment(at, at, actor, kind, label, story, event.length, event.data)


def _sent(events: Sequence[Event], received: Event) -> Event | None:
    """The last SYN that left with the source of this one."""
    before = (each for each in events if each.kind == SEND and each.number == SYN and each.time <= received.time)
    return next((each for each in reversed(list(before)) if each.source == received.source), None)


def _steps(lane: Lane, events: Sequence[Event]) -> Iterator[Step]:
    """What our programs reported about the sockets of this request."""
    for cookie in dict.fromkeys(event.cookie for event in events if event.cookie):
        for node in lane.nodes:
            for step in node.datapath.decision(cookie).steps:
                if events[0].time <= step.time_ns <= events[-1].time:
                    yield step


def _decisions(
    steps: Sequence[Step], events: Sequence[Event], actors: Mapping[int, str], start: int
) -> Iterator[Moment]:
    for step in steps:
        at, actor = (step.time_ns - start) / _CLOCK, _running(events, actors, step)
        yield Moment(at, at, actor, "decision", _label(step), step.story, location=step.location)


def _label(step: Step) -> str:
    return step.kind.lower().replace("_", " ")


def _running(events: Sequence[Event], actors: Mapping[int, str], step: Step) -> str:
    """Who had the CPU when a program reported a step."""
    before = [event for event in events if event.time <= step.time_ns and event.process in actors]
    return actors[before[-1].process] if before else "client"


def _stretches(events: Sequence[Event], actors: Mapping[int, str], start: int, last: float) -> Iterator[Stretch]:
    """Who had the CPU: whoever leaves it at a switch has had it since the one before."""
    since = 0.0
    for event in events:
        if event.kind == SWITCH:
            until = min((event.time - start) / _CLOCK, last)
            if until > since:
                yield Stretch(since, until, actors.get(event.process, ""))
            since = until


def _switches(stretches: Sequence[Stretch]) -> Iterator[Moment]:
    for before, after in pairwise(stretches):
        if before.actor:
            to = after.actor or "somebody else on this machine"
            story = f"{before.actor} leaves the CPU, {to} gets it"
            yield Moment(before.end, before.end, before.actor, "switch", "context switch", story)

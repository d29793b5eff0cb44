"""Exercises of notebook 05: what a socket reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmesh_lab.datapath.events import Event
from kmesh_lab.errors import LabError
from kmesh_lab.exercises.bench import Shop, open_shop
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.instruments import attempt
from kmesh_lab.exercises.prediction import Number, compare_numbers
from kmesh_lab.exercises.verdict import Finding, Mistake, told
from kmesh_lab.lab import Connection, Pod

__all__ = ["EXERCISES"]

_HELLO = b"hello"
_MOST = 2000  # connects
_QUIET = 0.05  # seconds in which nothing more was lost
_LONG = 5.5  # seconds, more than the five after which a connection is reported again

# ---- 05.1


def _examine_numbers(answer: Any) -> list[Finding]:
    with open_shop() as it:
        stranger = it.lab.pod("stranger", node=it.n1, enrolled=False)

        def records(act: Callable[[], object]) -> list[Event]:
            with it.lab.events() as events:
                act()
            return list(events)

        def hello(pod: Pod) -> list[Event]:
            return records(lambda: _say(pod, it.far))

        direct = hello(it.shop)
        numbers = {
            "records: shop says hello to inventory-b": len(direct),
            "records: stranger, not enrolled, says hello to inventory-b": len(hello(stranger)),
            "records: shop connects to a closed port of inventory-b": len(
                records(lambda: attempt(it.shop, it.far, 9999))
            ),
            "sent_bytes: shop's last record": _last(direct, "OUTBOUND").sent_bytes,
            "received_bytes: inventory-b's last record": _last(direct, "INBOUND").received_bytes,
        }
        it.lab.apply(it.inventory, endpoints=[it.far], waypoint=it.lab.waypoint("waypoint", node=it.n1))
        behind = records(lambda: _say(it.shop, it.inventory))
        numbers["sent_bytes: shop's last record, through a waypoint"] = _last(behind, "OUTBOUND").sent_bytes
    because: dict[str, tuple[str, Mapping[int, str]]] = {
        "records: shop says hello to inventory-b": (
            "Each side reports when it is established and when it is closed.",
            {2: "The accepting side is a socket of the mesh, too: n2 reports what n1 reports."},
        ),
        "records: stranger, not enrolled, says hello to inventory-b": (
            "The stranger's side is silent. The accepting side is enrolled, and it reports.",
            {4: "The stranger is not in km_manage: its own side is silent."},
        ),
        "records: shop connects to a closed port of inventory-b": (
            "A refused connect is never established, and only established connections are watched to their end.",
            {},
        ),
        "sent_bytes: shop's last record": (
            "Five bytes, and one each for the SYN and the FIN, which take a sequence number as a byte does.",
            {6: "The FIN has a sequence number as well, and it was acknowledged."},
        ),
        "received_bytes: inventory-b's last record": (
            "Five bytes and the FIN. The SYN came before this socket existed.",
            {7: "What one side sent is not what the other received: the SYN came before the accepting socket existed."},
        ),
        "sent_bytes: shop's last record, through a waypoint": (
            "Five bytes, SYN, FIN, and the sixteen of the TLV, which the socket has sent although no process wrote it.",
            {7: "The TLV has been sent by this socket, and acknowledged: sixteen bytes more."},
        ),
    }
    return compare_numbers([Number(name, number, *because[name]) for name, number in numbers.items()], answer)


def _say(pod: Pod, target: Any) -> None:
    with pod.connect(target) as connection:
        connection.send(_HELLO)
        connection.recv()


def _last(events: Sequence[Event], direction: str) -> Event:
    found = [event for event in events if (event.direction, event.kind) == (direction, "closed")]
    if not found:
        raise LabError(f"no {direction} CLOSE record came within half a second; is the machine very busy?")
    return found[-1]


# ---- 05.2


def _examine_looks(answer: Any) -> list[Finding]:
    if type(answer) is not int or not 1 <= answer <= _MOST:
        raise Mistake(f"The answer is {answer!r}: expected a number of connects from 1 to {_MOST}.")
    with open_shop() as it:
        fits, more = _lost_of(it, answer), _lost_of(it, answer + 1)
    return [
        Finding(f"{answer} connects", "0 lost", f"{fits} lost", "wrong" if fits else "right", _too_many(answer, fits)),
        Finding(
            f"{answer + 1} connects",
            "some lost",
            f"{more} lost",
            "right" if more else "wrong",
            "" if more else f"One more fits as well, so {answer} is not the largest.",
        ),
    ]


def _too_many(connects: int, lost: int) -> str:
    if not lost:
        return ""
    kept = 4 * connects - lost
    why = f"{connects} connects are {4 * connects} records, and {kept} of them were kept."
    if connects > kept // 2:
        return f"{why} One connect is more than one record: each side reports twice."
    return f"{why} Both sides are on n1, so all four records of a connect go into one ring."


def _lost_of(it: Shop, connects: int) -> int:
    """Records lost when nobody reads during so many connects."""
    with it.lab.events():  # empties the ring, and again at the end
        before = it.n1.lost.tcp_probe
        it.shop.connect_many(it.near, count=connects)
        lost, seen = it.n1.lost.tcp_probe, -1
        while lost != seen:
            time.sleep(_QUIET)
            lost, seen = it.n1.lost.tcp_probe, lost
        return lost - before


# ---- 05.3

_Payload = Callable[[Sequence[Event]], Any]


def _examine_payload(answer: Any) -> list[Finding]:
    if not callable(answer):
        raise Mistake(f"The answer is {answer!r}: expected a function of a list of events.")
    findings = []
    with open_shop() as it:
        for case, play, why in _PLAYS:
            opened: list[Connection] = []  # holds those that stay open: one that nobody holds is closed
            with it.lab.events() as events:
                sent = {str(pod.address): size for pod, size in play(it, opened).items()}
            findings.append(_held_against(answer, case, list(events), sent, why))
            if findings[-1].outcome != "right":
                break  # the last one takes five seconds
    return findings


def _held_against(payload: _Payload, case: str, events: list[Event], sent: dict[str, int], why: str) -> Finding:
    kernel = ", ".join(f"{who} {size}" for who, size in sorted(sent.items()))
    try:
        returned = payload(events)
    except Exception as error:
        return Finding(case, "an error", kernel, "wrong", f"Your code raised {told(error)}. {why}")
    if not isinstance(returned, Mapping):
        return Finding(case, repr(returned), kernel, "wrong", f"It returned {returned!r}: expected a dict. {why}")
    theirs = {str(who[0] if isinstance(who, tuple) else who): size for who, size in returned.items()}
    if theirs == sent:
        return Finding(case, kernel, kernel, "right")
    return Finding(case, ", ".join(f"{who} {size}" for who, size in theirs.items()) or "nothing", kernel, "wrong", why)


def _once(it: Shop, opened: list[Connection]) -> dict[Pod, int]:
    _say(it.shop, it.far)
    return {it.shop: len(_HELLO)}


def _several(it: Shop, opened: list[Connection]) -> dict[Pod, int]:
    for pod in (it.shop, it.shop, it.visitor):
        _say(pod, it.near)
    return {it.shop: 2 * len(_HELLO), it.visitor: len(_HELLO)}


def _behind_a_waypoint(it: Shop, opened: list[Connection]) -> dict[Pod, int]:
    it.lab.apply(it.inventory, endpoints=[it.far], waypoint=it.lab.waypoint("waypoint", node=it.n1))
    _say(it.shop, it.inventory)
    return {it.shop: len(_HELLO)}


def _reported_again(it: Shop, opened: list[Connection]) -> dict[Pod, int]:
    """Two connections that are reported when they say hello once more; one is closed, one stays open."""
    it.n1.configure(periodic_report=True)
    opened += [it.shop.connect(it.far) for _ in range(2)]
    for wait in (_LONG, 0):
        for connection in opened:
            connection.send(_HELLO)
            connection.recv()
        time.sleep(wait)
    opened[0].close()
    # The second hello of the open one is the packet that had it reported, so it was not acknowledged yet.
    return {it.shop: 3 * len(_HELLO)}


_PLAYS: tuple[tuple[str, Callable[[Shop, list[Connection]], dict[Pod, int]], str], ...] = (
    ("one connection", _once, "Count one side only, and neither the SYN nor the FIN."),
    ("three connections of two clients", _several, "Add up the connections of a client, each once."),
    ("through a waypoint", _behind_a_waypoint, "To port 15019 of a waypoint the first sixteen bytes are the TLV."),
    (
        "reported again",
        _reported_again,
        "Every record says how much since the beginning, so of one connection only the newest counts. One that is "
        "still open has sent no FIN.",
    ),
)


EXERCISES = (
    Exercise(
        "05.1",
        "predict",
        "Six numbers that this notebook has not shown. `hello` is five bytes; inventory-b echoes it, then both sides "
        "close. `records` counts those of all nodes, `stranger` is on n1 and not enrolled, and a TLV for IPv4 has "
        "sixteen bytes.",
        "You know who reports, when, and what counts as a byte.",
        _examine_numbers,
    ),
    Exercise(
        "05.2",
        "change",
        "Nobody reads the rings while the shop connects `connects` times to inventory-a, which is on its own node. "
        "Each connection is closed at once. Change the number to the largest one with which no record is lost.",
        "You know how many records a connect makes, into whose ring they go, and how many fit.",
        _examine_looks,
        beside="wanted",
    ),
    Exercise(
        "05.3",
        "build",
        "Write what a mesh's metrics are made of: a function that gets a list of events and returns a dict, client "
        "address to payload bytes that this client has sent by its newest records, on open and on closed connections. "
        "SYN, FIN and TLV are no payload. An event has `.source`, `.destination`, `.direction`, `.state`, "
        "`.sent_bytes`, `.start_ns` and `.last_report_ns`; `.source[0]` is the address. Connections end with a FIN.",
        "Your function agrees with what the processes sent, whatever was reported twice.",
        _examine_payload,
    ),
)

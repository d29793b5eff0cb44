"""Exercises of notebook 06: Envoy and Kmesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kmesh_lab.comparison import INVENTORY, PATHS, Path, Route
from kmesh_lab.comparison.counting import tcp_counters
from kmesh_lab.comparison.load import How
from kmesh_lab.comparison.paths import Lane, open_lane
from kmesh_lab.display import counted
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.verdict import Finding, Mistake, told
from kmesh_lab.lab import Lab, Pod

__all__ = ["EXERCISES"]

_REQUESTS = 40

# ---- 06.1


@dataclass(frozen=True)
class _Question:
    case: str
    path: str
    how: How
    what: str
    because: str


_QUESTIONS = (
    _Question(
        "kernel, kept connection: segments",
        "kernel",
        "keep",
        "segments",
        "The address was exchanged when the connection was made. A request is one segment, its answer another one.",
    ),
    _Question(
        "sidecars http, kept connection: segments",
        "sidecars http",
        "keep",
        "segments",
        "Three connections lie on the way, and on each of them the request is one segment and the answer another one.",
    ),
    _Question(
        "sidecars tcp, new connections: connections",
        "sidecars tcp",
        "new",
        "connections",
        "An Envoy that copies bytes must open a connection for each one that it gets: shop to Envoy, Envoy to Envoy, "
        "Envoy to inventory.",
    ),
    _Question(
        "sidecars http, new connections: connections",
        "sidecars http",
        "new",
        "connections",
        "An Envoy that reads requests can send those of many connections over one that it keeps. Only the shop's own "
        "is new.",
    ),
    _Question(
        "sidecars http, new connections: connections that inventory accepts",
        "sidecars http",
        "new",
        "accepted",
        "The server hears nothing of the shop's connections: its Envoy keeps one to it.",
    ),
)


def _examine_counts(answer: Mapping[str, Any]) -> list[Finding]:
    unknown = [str(key) for key in answer if key not in {each.case for each in _QUESTIONS}]
    if unknown:
        raise Mistake(f"There is no case {', '.join(map(repr, unknown))}; keep the keys as they are in the cell.")
    found = {each.case: 0.0 for each in _QUESTIONS}
    asked = [each for each in _QUESTIONS if answer.get(each.case) is not None]
    for path in dict.fromkeys(each.path for each in asked):
        with open_lane(PATHS[path]) as lane:
            found |= {each.case: _per_request(lane, each) for each in asked if each.path == path}
    return [_number_finding(each, answer.get(each.case), found[each.case]) for each in _QUESTIONS]


def _per_request(lane: Lane, question: _Question) -> float:
    """Of twice as many requests minus of so many: what the beginning and the end of a run cost is in both."""
    lane.client.run("new", *lane.route.target, count=_REQUESTS)  # proxies open the connections that they keep
    readings = []
    for count in (_REQUESTS, 2 * _REQUESTS):
        before = _reading(lane, question.what)
        lane.client.run(question.how, *lane.route.target, count=count, pause=5)
        readings.append(_reading(lane, question.what) - before)
    return (readings[1] - readings[0]) / _REQUESTS


def _reading(lane: Lane, what: str) -> int:
    if what == "accepted":  # all that the pod accepts, without those that come to its Envoy
        tcp = tcp_counters(lane.route.server)
        return tcp["PassiveOpens"] - _inbound(lane)
    name = {"segments": "OutSegs", "connections": "ActiveOpens"}[what]
    return sum(tcp_counters(pod)[name] for pod in lane.pods)


def _inbound(lane: Lane) -> int:
    sidecar = lane.route.server.sidecar
    return sidecar.counters.inbound_connections if sidecar else 0


def _number_finding(question: _Question, guess: Any, value: float) -> Finding:
    kernel = f"{round(value)}"
    if guess is None:
        return Finding(question.case, "", kernel, "open")
    if isinstance(guess, bool) or not isinstance(guess, (int, float)):
        return Finding(question.case, repr(guess), kernel, "wrong", "expected a number")
    right = guess == round(value)
    return Finding(question.case, f"{guess}", kernel, "right" if right else "wrong", "" if right else question.because)


# ---- 06.2

_OPTIONS = ("sidecar", "mtls")
_KEEP = "Both pods shall keep their sidecars: what is cheap because it is not there is no answer."


def _examine_mode(answer: Any) -> list[Finding]:
    if not isinstance(answer, Mapping) or not set(answer) <= set(_OPTIONS):
        raise Mistake(f"The answer is {answer!r}: expected a dict with 'sidecar' and, if you like, 'mtls'.")
    options = dict(answer)
    if not options.get("sidecar"):
        raise Mistake(_KEEP)

    def lay(lab: Lab) -> Route:
        route = PATHS["direct"].lay(lab)
        for pod in (route.client, route.server):
            lab.delete(pod)
        shop, inventory = lab.pod("shop", "n1", **options), lab.pod("inventory", "n2", **options)
        lab.apply(INVENTORY, endpoints=[inventory])
        return replace(route, client=shop, server=inventory, target=(INVENTORY.vips[0], 80))

    with open_lane(_path(lay)) as lane:
        envoys, connections = _envoys_passed(lane), _per_request(lane, _QUESTIONS[2])
    seen = "no Envoy any more" if not envoys else f"{envoys} Envoys" if envoys > 1 else "one Envoy"
    why = "" if envoys == 2 else _KEEP
    findings = [Finding("a request passes", "2 Envoys", seen, "right" if envoys == 2 else "wrong", why)]
    few = round(connections) == 1
    why = "" if few else "These Envoys copy bytes. They know where a connection ends, but not where a request does."
    findings.append(
        Finding("it opens", "1 connection", counted(round(connections), "connection"), "right" if few else "wrong", why)
    )
    return findings


# ---- 06.3


def _examine_path(answer: Any) -> list[Finding]:
    if not callable(answer):
        raise Mistake(f"The answer is {answer!r}: expected a function of a lab that returns a Route.")

    def lay(lab: Lab) -> Route:
        try:
            route = answer(lab)
        except Exception as error:
            raise Mistake(f"Your function raised {told(error)}") from None
        if not isinstance(route, Route):
            raise Mistake(f"It returned {route!r}: expected a Route.")
        return route

    with open_lane(_path(lay)) as lane:
        vip = INVENTORY.vips[0]
        if lane.route.target[0] != vip:
            raise Mistake(f"The shop asks for {lane.route.target[0]}: expected the service, {vip} port 80.")
        envoys = _envoys_passed(lane)
        at_server = lane.route.server.sidecar is not None
        ours = lane.route.client.enrolled
    seen = {0: "no Envoy", 1: "one Envoy"}.get(envoys, f"{envoys} Envoys")
    why = {
        0: "Nobody at layer 7 sees the request. Which pod needs a sidecar?",
        2: "The shop has one, too, and it does what the kernel could do for it.",
    }.get(envoys, "")
    return [
        Finding("a request passes", "one Envoy", seen, "right" if envoys == 1 else "wrong", why),
        _yes_or_no("it is the one of inventory", at_server, "Its own Envoy is what inventory trusts to guard it."),
        _yes_or_no("the kernel finds the endpoint for the shop", ours, "The shop is not enrolled, so the VIP stays."),
    ]


def _yes_or_no(case: str, right: bool, why: str) -> Finding:
    return Finding(case, "yes", "yes" if right else "no", "right" if right else "wrong", "" if right else why)


# ---- what the checks share


def _path(lay: Callable[[Lab], Route]) -> Path:
    return replace(PATHS["direct"], name="yours", lay=lay)


def _envoys_passed(lane: Lane) -> int:
    """How many Envoys each of some requests has passed, as they say themselves."""
    pods: list[Pod] = list(lane.lab.pods.values())
    lane.client.run("new", *lane.route.target, count=_REQUESTS)
    before = sum(map(_seen, pods))
    lane.client.run("new", *lane.route.target, count=_REQUESTS - 1)  # and the first one, which a run does not count
    return round((sum(map(_seen, pods)) - before) / _REQUESTS)


def _seen(pod: Pod) -> int:
    if pod.sidecar is None:
        return 0
    counters = pod.sidecar.counters
    if pod.sidecar.mode == "tcp":
        return counters.outbound_connections + counters.inbound_connections
    return counters.outbound_requests + counters.inbound_requests


EXERCISES = (
    Exercise(
        "06.1",
        "predict",
        "Five numbers, each for one request: TCP segments sent by anybody on the path, TCP connections opened by "
        "anybody, or, in the last case, connections that inventory itself accepts. `kept` asks many times over one "
        "connection, `new` makes one for each request.",
        "You can tell what a proxy does to connections from what it does to requests.",
        _examine_counts,
    ),
    Exercise(
        "06.2",
        "change",
        "Both pods have a sidecar, and each new connection of the shop becomes three. Change the options of "
        "`lab.pod`, the same for both pods, so that it stays one, without taking the Envoys away.",
        "An Envoy that reads requests keeps its connections to the next one, and a request rides on what is there.",
        _examine_mode,
        beside="wanted",
    ),
    Exercise(
        "06.3",
        "build",
        "Lay a path of your own for `km.compare`: the kernel finds the endpoint for the shop, and one Envoy, that of "
        "inventory, reads each request. The function gets a lab with no nodes yet. It makes them, the pods `shop` and "
        "`inventory`, applies the service `INVENTORY`, and returns a `Route` with what the shop asks for.",
        "A pod with a sidecar and one without are in the same mesh, and your path can be compared like any other.",
        _examine_path,
        beside="wanted",
    ),
)

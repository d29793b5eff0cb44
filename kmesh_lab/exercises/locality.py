"""Exercises of notebook 03: locality load balancing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kmesh_lab.exercises.bench import NEAREST, Field, open_field
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.prediction import Case, compare
from kmesh_lab.exercises.priorities import explain
from kmesh_lab.exercises.verdict import Finding, Mistake
from kmesh_lab.mesh import LoadBalancing, Locality, Policy

__all__ = ["EXERCISES"]

_NOBODY = frozenset[str]()

# ---- 03.1

_PLACES = {"p": "cn-west/xian/b", "q": "cn-west/chengdu/a", "r": "cn-east/xian/a", "s": "cn-west/chengdu/b"}


def _examine_chosen(answer: Any) -> list[Finding]:
    scopes = ["REGION", "ZONE", "SUBZONE"]
    every = frozenset(_PLACES)
    with open_field({"shop": "cn-west/xian/a"}, _PLACES) as it:
        cases = [
            Case(
                "RANDOM, all four",
                it.reached("shop", LoadBalancing("RANDOM", scopes), "pqrs", 400),
                "RANDOM does not look at places: every endpoint is stored at priority 0, each has the same chance.",
            ),
            Case(
                "STRICT, all four",
                it.reached("shop", LoadBalancing("STRICT", scopes), "pqrs"),
                "STRICT takes priority 0 only, and no endpoint matches region, zone and subzone. Nobody is chosen, "
                "and the connection goes on to the VIP.",
                {every: "STRICT does not fall back to the others: with nobody at priority 0 it chooses nobody."},
            ),
            Case(
                "FAILOVER, all four",
                it.reached("shop", NEAREST, "pqrs"),
                "p shares region and zone with the shop: priority 1. Nobody is nearer, and FAILOVER uses one priority.",
                {_NOBODY: "Nobody is at priority 0, and FAILOVER goes on to the next priority; STRICT would not."},
            ),
            Case(
                "FAILOVER, p deleted",
                it.reached("shop", NEAREST, "qrs"),
                "q and s share the region and differ in the zone: priority 2, both. The subzones of shop and q are "
                "both called a, but behind a zone that differs the subzone is not compared.",
            ),
            Case(
                "FAILOVER, q and r only",
                it.reached("shop", NEAREST, "qr"),
                "REGION is compared first. r differs there, so it is at priority 3, however well zone and subzone fit; "
                "q has the region and is at priority 2.",
            ),
        ]
    return compare(cases, answer, every)


# ---- 03.2

_FOUR = {
    "inventory-a": "cn-west/xian/a",
    "inventory-b": "cn-west/xian/b",
    "inventory-c": "cn-west/chengdu/a",
    "inventory-d": "cn-east/xian/a",
}
_STAGES = (
    ("all four there", "abcd", "ab"),
    ("a and b gone", "cd", "c"),
    ("only d left", "d", "d"),
)


def _examine_preference(answer: Any) -> list[Finding]:
    if not isinstance(answer, LoadBalancing):
        raise Mistake(f"The answer is {answer!r}: expected a km.LoadBalancing.")
    with open_field({"shop": "cn-west/xian/a"}, _FOUR) as it:
        return [_stage(it, answer, *stage) for stage in _STAGES]


def _stage(it: Field, answer: LoadBalancing, case: str, there: str, wanted: str) -> Finding:
    want = frozenset(f"inventory-{letter}" for letter in wanted)
    found = it.reached("shop", answer, [f"inventory-{letter}" for letter in there], 300)
    kernel = ", ".join(sorted(found)) or "nobody"
    if found == want:
        return Finding(case, ", ".join(sorted(want)), kernel, "right")
    return Finding(case, ", ".join(sorted(want)), kernel, "wrong", _why_not(answer, want, found))


def _why_not(answer: LoadBalancing, want: frozenset[str], found: frozenset[str]) -> str:
    scopes = [scope.name for scope in answer.routing_preference]
    if answer.policy is Policy.RANDOM:
        return "RANDOM does not look at places: every endpoint that is there gets its share."
    if not found:
        return "STRICT takes priority 0 only. When nobody is there, nobody is chosen; FAILOVER would go on."
    if found < want:
        return f"{scopes[-1]} tells inventory-a and inventory-b apart, so one of them is a priority further away."
    if "inventory-d" in found and scopes and scopes[0] != "REGION":
        return f"{scopes[0]} is compared first, and inventory-d is in a zone called xian, too. The order decides."
    compared = ", ".join(scopes) or "no scope"
    return f"With {compared}, {', '.join(sorted(found))} are at the same priority: nothing tells them apart."


# ---- 03.3

_CLIENTS = {"shop": "cn-west/xian/a", "visitor": "cn-east/beijing/a"}
_WANTED_ROW = (0, 1, 1, 1, 0, 0, 0)


def _examine_places(answer: Any) -> list[Finding]:
    if not isinstance(answer, Mapping) or set(answer) != {"x", "y", "z"}:
        raise Mistake(f"The answer is {answer!r}: expected a dict with a locality for x, y and z.")
    places = {name: str(Locality.parse(str(answer[name]))) for name in "xyz"}
    with open_field(_CLIENTS, places) as it:
        service = it.apply(NEAREST, "xyz")
        node = it.clients["shop"].node
        row = node.maps.service[service].prio_endpoint_count
        seen = explain(node, service)
        at = ", ".join(f"{name} {seen[name]}" for name in "xyz")
        counts = Finding(
            "km_service on the shop's node",
            " ".join(map(str, _WANTED_ROW)),
            " ".join(map(str, row)),
            "right" if row == _WANTED_ROW else "wrong",
            "" if row == _WANTED_ROW else f"Priorities seen from the shop: {at}.{_hint(places, seen)}",
        )
        return [
            counts,
            _uses(it, "shop", "xyz", "x"),
            _uses(it, "shop", "yz", "y"),
            _uses(it, "visitor", "xyz", "z"),
            _uses(it, "visitor", "xy", "xy"),
        ]


def _uses(it: Field, client: str, there: str, wanted: str) -> Finding:
    found = it.reached(client, NEAREST, there)
    case = f"{client}, with {', '.join(there)}"
    kernel = ", ".join(sorted(found)) or "nobody"
    if found == frozenset(wanted):
        return Finding(case, ", ".join(wanted), kernel, "right")
    why = f"Seen from the {client}, nearest: {kernel}. FAILOVER uses that priority and no other."
    return Finding(case, ", ".join(wanted), kernel, "wrong", why)


def _hint(places: Mapping[str, str], seen: Mapping[str, int]) -> str:
    for name in places:
        if seen[name] == 0:
            return f" {name} is in the shop's own subzone, and priority 0 shall stay empty."
    for name, where in places.items():
        west = where.startswith("cn-west/")
        if not west and name in "xy":
            return f" {name} is in another region: the last priority, whatever its zone is called."
    return ""


EXERCISES = (
    Exercise(
        "03.1",
        "predict",
        "The shop is in cn-west/xian/a; the preference is REGION, ZONE, SUBZONE. Four endpoints: p in cn-west/xian/b, "
        "q in cn-west/chengdu/a, r in cn-east/xian/a, s in cn-west/chengdu/b. Which of them can be chosen? Answer with "
        'names, such as `"p"` or `["p", "q"]`, or with `"nobody"`.',
        "You can say which endpoints will be chosen in a case that you have not seen.",
        _examine_chosen,
    ),
    Exercise(
        "03.2",
        "change",
        "Change the load balancing: the shop shall use inventory-a and inventory-b alike, for both are in its zone. "
        "When both are gone it shall use inventory-c in the same region, and inventory-d in cn-east/xian/a only when "
        "nobody else is left.",
        "REGION before ZONE, no SUBZONE, and FAILOVER to go on when a priority is empty.",
        _examine_preference,
        beside="wanted",
    ),
    Exercise(
        "03.3",
        "build",
        "Find places for x, y and z. Seen from the shop in cn-west/xian/a the service row shall count `0 1 1 1 0 0 0`, "
        "and the shop uses x, then y, then z. The visitor in cn-east/beijing/a shall use z, and when z is gone, x and "
        "y alike.",
        "The same three places, two clients, two orders: nearness belongs to who asks.",
        _examine_places,
        beside="wanted",
    ),
)

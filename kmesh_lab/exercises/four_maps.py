"""Exercises of notebook 02: the mesh is four maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kmesh_lab.datapath.views import MapView
from kmesh_lab.exercises.bench import diagnosis, open_shop
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.instruments import Attempt, attempt
from kmesh_lab.exercises.prediction import Case, compare
from kmesh_lab.exercises.verdict import Finding, Mistake
from kmesh_lab.lab import Node, Pod
from kmesh_lab.mesh import Service

__all__ = ["EXERCISES"]

_MAPS = ("frontend", "service", "endpoint", "backend")
_ROW = "a row is (map, key, value), for example ('frontend', '10.96.0.99', 'inventory.shop')"

# ---- 02.1


def _examine_missing(answer: Any) -> list[Finding]:
    with open_shop() as it:

        def without(name: str, key: Any, pod: Pod, target: Any, port: int) -> frozenset[str]:
            del getattr(it.n1.maps, name)[key]
            reached = frozenset(pod.connect_many(target, port, count=3))
            it.lab.delete(it.inventory)  # what is published again is written again
            it.publish()
            it.n1.maps.frontend[it.near.address] = it.near
            return reached

        cases = [
            Case(
                "km_endpoint[inventory, 1, 1] is gone: shop to 10.96.0.10:80",
                without("endpoint", (it.inventory, 1, 1), it.shop, it.inventory, 80),
                "Priority 0 has an endpoint, so FAILOVER never looks at priority 1.",
            ),
            Case(
                "km_frontend[10.244.1.2] is gone: shop to 10.96.0.10:80",
                without("frontend", it.near.address, it.shop, it.inventory, 80),
                "This row is for clients that ask for the pod itself. The way through the service starts at the VIP's "
                "row and never comes back to km_frontend.",
            ),
            Case(
                "km_backend[inventory-a] is gone: shop to 10.244.1.2:8080",
                without("backend", it.near, it.shop, it.near, 8080),
                "The frontend leads to an id without a row, so the destination stays, and this destination exists. "
                "Only an address that was made up, such as a VIP, needs the maps.",
            ),
            Case(
                "km_service[inventory] is gone on n1: visitor on n2 to 10.96.0.10:80",
                without("service", it.inventory, it.visitor, it.inventory, 80),
                "The row is gone on n1. The visitor's connects are decided on n2, whose maps are its own; there, "
                "inventory-b is the near one.",
            ),
        ]
    return compare(cases, answer, {"inventory-a", "inventory-b"})


# ---- 02.2


def _examine_one_row(answer: Any) -> list[Finding]:
    with open_shop() as it:
        _write(it.n1, answer)
        found = attempt(it.shop, it.inventory, 80)
        key = answer[1]
        if found.reached == "inventory-a" and isinstance(key, tuple) and len(key) == 3:
            raise Mistake(
                f"No connect reads your row. The program takes priority 0, index 1 (indices count from 1); you wrote "
                f"priority {key[1]}, index {key[2]}. The shop still reaches inventory-a."
            )
        return [
            _want("shop to 10.96.0.10:80", found, "inventory-b"),
            _want("shop to 10.244.1.2:8080", attempt(it.shop, it.near, 8080), "inventory-a"),
        ]


# ---- 02.3


def _examine_by_hand(answer: Any) -> list[Finding]:
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        raise Mistake(f"The answer is {answer!r}: expected a list of rows, and {_ROW}.")
    with open_shop() as it:
        for row in answer:
            _write(it.n1, row)
        first = attempt(it.shop, "10.96.0.30", 80)
        findings = [_want("shop to 10.96.0.30:80", first, "inventory-b")]
        if first.reached == "inventory-b":
            often = ", ".join(sorted(it.shop.connect_many("10.96.0.30", 80, count=60)))
            why = "The service row counts endpoints that are not inventory-b." if often != "inventory-b" else ""
            case = "shop to 10.96.0.30:80, 60 times"
            findings = [Finding(case, "inventory-b", often, "wrong" if why else "right", why)]
        findings.append(_want("shop to 10.96.0.10:80", attempt(it.shop, it.inventory, 80), "inventory-a"))
    return findings


def _want(case: str, found: Attempt, wanted: str) -> Finding:
    if found.reached == wanted:
        return Finding(case, wanted, wanted, "right")
    return Finding(case, wanted, found.reached or found.error, "wrong", diagnosis(found.decision))


def _write(node: Node, row: Any) -> None:
    """Write what a learner gave as (map, key, value); a service or backend row may be a name to copy from."""
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != 3:
        raise Mistake(f"The row is {row!r}, but {_ROW}.")
    name, key, value = row
    name = str(name).removeprefix("km_")
    if name not in _MAPS:
        raise Mistake(f"There is no map {name!r}: expected one of {', '.join(_MAPS)}.")
    view: MapView[Any, Any] = getattr(node.maps, name)
    try:
        value = _known(value)
        view[_known(key)] = (
            view[value] if name in ("service", "backend") and isinstance(value, (str, Service)) else value
        )
    except Exception as error:
        raise Mistake(f"km_{name} does not take {key!r} → {value!r}: {error}") from None


def _known(thing: Any) -> Any:
    """A pod of the notebook's lab is known here by its name."""
    if isinstance(thing, tuple) and not hasattr(thing, "_fields"):
        return tuple(_known(each) for each in thing)
    return thing.name if isinstance(thing, Pod) else thing


EXERCISES = (
    Exercise(
        "02.1",
        "predict",
        "One row of n1 is deleted, the connect is made, the row is written again. Who answers: `inventory-a`, "
        "`inventory-b` or `nobody`? inventory-a is at priority 0 of n1.",
        "You know which rows lie on the way of a connect, and that what is not on it does not matter.",
        _examine_missing,
    ),
    Exercise(
        "02.2",
        "change",
        "Write one row of n1 so that the shop's connects to 10.96.0.10:80 reach inventory-b, while its connects to "
        "10.244.1.2:8080 still reach inventory-a. A first try is in the cell. It is wrong, and the check says why.",
        "One row was enough, and only the clients of the service notice.",
        _examine_one_row,
        beside="wanted",
    ),
    Exercise(
        "02.3",
        "build",
        "Publish a service by hand, without `apply`: on n1, port 80 of 10.96.0.30 shall lead to port 8080 of "
        "inventory-b, and 77 shall be the id of the service. Each row is (map, key, value). For a row of km_service or "
        'km_backend the value is the name of the one to copy, for example `"inventory.shop"`.',
        "Three rows, and the fourth was there: the backend row of a pod serves every service in front of it.",
        _examine_by_hand,
        beside="wanted",
    ),
)

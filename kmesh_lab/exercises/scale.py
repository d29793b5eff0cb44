"""Exercises of notebook 07: memory and scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.footprint import entries, footprint, grow
from kmesh_lab.exercises.prediction import Case, compare
from kmesh_lab.exercises.verdict import Finding, Mistake, told
from kmesh_lab.lab import Lab, Pod
from kmesh_lab.mesh import LoadBalancing, Service

__all__ = ["EXERCISES"]

_INVENTORY = Service("inventory.shop", "10.96.0.10", {80: 8080})
_ORDERS = Service("orders.shop", "10.96.0.20", {80: 8080})

# ---- 07.1

_MAPS = frozenset(("km_frontend", "km_service", "km_endpoint", "km_backend"))
_NAMES = _MAPS | {"shop", "inventory-a", "newcomer"}


@contextmanager
def _open_mesh() -> Iterator[Lab]:
    """The shop and inventory-a with sidecars, inventory-b without."""
    with Lab() as lab:
        lab.node("n1", "cn-west/xian/a")
        lab.pod("shop", "n1", sidecar="tcp")
        near = lab.pod("inventory-a", "n1", listen=8080, sidecar="tcp")
        lab.pod("inventory-b", "n1", listen=8080)
        lab.apply(_INVENTORY, [near])
        yield lab


def _examine_who_grows(answer: Any) -> list[Finding]:
    with _open_mesh() as lab:
        near, other = lab.pods["inventory-a"], lab.pods["inventory-b"]
        strict = Service("inventory.shop", "10.96.0.10", {80: 8080}, LoadBalancing("STRICT", ["NODE"]))
        proxies = frozenset(("shop", "inventory-a"))
        cases = [
            Case(
                "a second service, orders.shop, with the endpoint inventory-a",
                _grown(lab, lambda: lab.apply(_ORDERS, [near])),
                "A service has a VIP, a row of its own and rows for its endpoints; the pod behind it is there already. "
                "Every Envoy is told, the server's too: it might call somebody.",
                {_MAPS | proxies: "The pod is in km_backend already: one row for a pod, however many services it has."},
            ),
            Case(
                "inventory-b becomes an endpoint of inventory.shop, too",
                _grown(lab, lambda: lab.apply(_INVENTORY, [near, other])),
                "One row of km_endpoint says that this pod is behind this service, and every Envoy gets the endpoint. "
                "The count in the service row changes, but it stays one row.",
            ),
            Case(
                "the policy of inventory.shop becomes STRICT by NODE",
                _grown(lab, lambda: lab.apply(strict, [near, other])),
                "One row of km_service is replaced. All endpoints are on this node, so even in the Envoys none is "
                "added and none goes.",
            ),
            Case(
                "a new pod without a sidecar, newcomer, behind no service",
                _grown(lab, lambda: lab.pod("newcomer", "n1"), lambda: lab.delete("newcomer")),
                "A pod is reached by its own address: a row of km_frontend leads to its row of km_backend. Envoys are "
                "told of services, and it is behind none.",
            ),
            Case(
                "a new pod with a sidecar, newcomer, behind no service",
                _grown(lab, lambda: lab.pod("newcomer", "n1", sidecar="tcp")),
                "Its two rows, as for every pod; and its own Envoy, which learns all that the others know.",
                {frozenset(("newcomer",)): "A pod is in the maps whether it has a sidecar or not: it has an address."},
            ),
        ]
    return compare(cases, answer, _NAMES)


def _grown(lab: Lab, change: Callable[[], object], undo: Callable[[], object] = lambda: None) -> frozenset[str]:
    """Who has more entries after a change."""
    before = entries(lab)
    change()
    after = entries(lab)
    undo()
    grown = [name for name, count in after.items() if count > before.get(name, 0)]
    return frozenset(name.removeprefix("Envoy of ").removesuffix(" of n1") for name in grown)


# ---- 07.2

_PODS = ("shop", "cart", "inventory-a", "orders-a")
_WANTED = (("shop", _INVENTORY, 2), ("shop", _ORDERS, 1), ("cart", _INVENTORY, 1), ("cart", _ORDERS, 0))


def _examine_sidecars(answer: Any) -> list[Finding]:
    if not isinstance(answer, Mapping) or set(answer) != set(_PODS):
        raise Mistake(f"The answer is {answer!r}: expected a dict with True or False for {', '.join(_PODS)}.")
    strange = [f"{name}: {value!r}" for name, value in answer.items() if not isinstance(value, bool)]
    if strange:
        raise Mistake(f"{', '.join(strange)}: expected True (with a sidecar) or False (without).")
    with Lab() as lab:
        lab.node("n1", "cn-west/xian/a")
        pods = {
            name: lab.pod(name, "n1", listen=8080 if name.endswith("-a") else None, sidecar=answer[name])
            for name in _PODS
        }
        lab.apply({_INVENTORY: [pods["inventory-a"]], _ORDERS: [pods["orders-a"]]})
        return [_passed(pods, client, service, wanted) for client, service, wanted in _WANTED]


def _passed(pods: Mapping[str, Pod], client: str, service: Service, wanted: int) -> Finding:
    before = _requests(pods)
    pods[client].connect(service).get("/stock/42")
    passed = _requests(pods) - before
    case, name = f"{client} → {service.name}", service.name.partition(".")[0]
    says = [f"{count} Envoy{'s' * (count != 1)}" for count in (wanted, passed)]
    if passed == wanted:
        return Finding(case, says[0], says[1], "right")
    own = "has" if pods[client].sidecar else "has not"
    theirs = "has" if pods[f"{name}-a"].sidecar else "has not"
    why = f"A request passes the Envoy of who sends it ({client} {own} one) and of who gets it ({name}-a {theirs} one)."
    return Finding(case, says[0], says[1], "wrong", why)


def _requests(pods: Mapping[str, Pod]) -> int:
    counts = [pod.sidecar.counters for pod in pods.values() if pod.sidecar]
    return sum(each.outbound_requests + each.inbound_requests for each in counts)


# ---- 07.3

_CLOSE = 0.35  # of the measured value
_MEASURED = ((1, 2), (1, 300), (2, 300))  # pods, services


def _examine_estimate(answer: Any) -> list[Finding]:
    if not callable(answer):
        raise Mistake(f"The answer is {answer!r}: expected a function of pods and services that returns bytes.")
    findings = []
    with Lab() as lab:
        lab.node("n1", "cn-west/xian/a")
        for pods, services in _MEASURED:
            while len(lab.pods) < pods:
                lab.pod(f"shop-{len(lab.pods)}", "n1", sidecar="tcp")
            grow(lab, [services])
            findings.append(_estimate(answer, pods, services, footprint(lab).in_envoys))
    return findings


def _estimate(answer: Callable[..., Any], pods: int, services: int, measured: int) -> Finding:
    case = f"{pods} pod{'s' * (pods > 1)} with sidecars, {services} services"
    found = f"{measured / 1e6:.0f} MB"
    try:
        said = float(answer(pods, services))
    except Exception as error:
        return Finding(case, "an error", found, "wrong", f"Your code raised {told(error)}.")
    text = f"{said / 1e6:.0f} MB"
    if abs(said - measured) <= _CLOSE * measured:
        return Finding(case, text, found, "right")
    why = "An Envoy takes memory before it knows anything: look at the first footprint."
    if services > 100:
        why = "Every Envoy keeps every service: look at how much it grew for each."
    if pods > 1 and _same(answer, services):
        why = "Every pod has an Envoy of its own, and each keeps all services."
    return Finding(case, text, found, "wrong", why)


def _same(answer: Callable[..., Any], services: int) -> bool:
    return bool(answer(1, services) == answer(3, services))


EXERCISES = (
    Exercise(
        "07.1",
        "predict",
        "The shop and inventory-a have sidecars, inventory-b has none; inventory-a is the one endpoint of "
        "inventory.shop. Five changes, one after the other. Who has more entries afterwards? Answer with names among "
        "`km_frontend`, `km_service`, `km_endpoint`, `km_backend` and, for their Envoys, `shop`, `inventory-a`, "
        '`newcomer`, or with `"nobody"`.',
        "You know where a change goes: to a row of one node's maps, and to every Envoy that there is.",
        _examine_who_grows,
    ),
    Exercise(
        "07.2",
        "change",
        "Each Envoy costs memory, so put sidecars only where they are wanted: the shop's requests to inventory.shop "
        "shall pass two, those to orders.shop one; the cart's requests to inventory.shop one, those to orders.shop "
        "none.",
        "A request passes the Envoy of its client and that of its server. Two sidecars are enough here.",
        _examine_sidecars,
        beside="wanted",
    ),
    Exercise(
        "07.3",
        "build",
        "Write the estimate that a cluster's owner needs: a function of the number of pods and of services that "
        "returns how many bytes of memory the sidecars of a node take, without what they share. It is right when it is "
        "within 35 % of what real Envoys take in three cases.",
        "Pods × (a fixed part + services × a part for each): it is the product that hurts.",
        _examine_estimate,
    ),
)

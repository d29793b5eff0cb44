"""Exercises of notebook 01: the way of one connect()."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.exercises.bench import Shop, open_shop
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.instruments import attempt
from kmesh_lab.exercises.prediction import Case, compare
from kmesh_lab.exercises.verdict import Finding, Mistake, told
from kmesh_lab.lab import Pod
from kmesh_lab.mesh import Service

__all__ = ["EXERCISES"]

_VIP = ipaddress.ip_address("10.96.0.10")

# ---- 01.1


def _examine_arrivals(answer: Any) -> list[Finding]:
    with open_shop() as it:
        stranger = it.lab.pod("stranger", node=it.n1, enrolled=False)

        def reached(pod: Pod, target: Pod | str, port: int) -> frozenset[str]:
            return frozenset(pod.connect_many(target, port, count=3))

        cases = [
            Case(
                "visitor to 10.96.0.10:80",
                reached(it.visitor, "10.96.0.10", 80),
                "The visitor asks on n2, and n2 has maps of its own. There, inventory-b is at priority 0.",
            ),
            Case(
                "shop to 10.96.0.10:8080",
                reached(it.shop, "10.96.0.10", 8080),
                "8080 is the target port. svc_dnat compares with the service ports, finds no slot, and the VIP stays.",
            ),
            Case(
                "shop to 10.244.1.2:80",
                reached(it.shop, "10.244.1.2", 80),
                "The ports belong to the service. A pod that is addressed directly keeps the port that was asked for, "
                "and no process of inventory-a listens on 80.",
            ),
            Case(
                "stranger to 10.244.1.2:8080",
                reached(stranger, "10.244.1.2", 8080),
                "Not enrolled means that the mesh leaves the destination as it is. This address exists.",
            ),
            Case(
                "shop to 10.244.2.1:8080",
                reached(it.shop, "10.244.2.1", 8080),
                "The shop asked for the pod itself. FAILOVER is a policy of the service, and no service row is read.",
            ),
        ]
    return compare(cases, answer, {"inventory-a", "inventory-b"})


# ---- 01.2


def _examine_second_port(answer: Any) -> list[Finding]:
    if not isinstance(answer, Service):
        raise Mistake(f"The answer is {answer!r}: expected a km.Service.")
    with open_shop() as it:
        if _VIP not in answer.vips:
            raise Mistake(f"The clients ask for 10.96.0.10, and your service is at {answer.vips[0]}.")
        if answer.name != it.inventory.name:
            raise Mistake(f"The service is called {it.inventory.name}; yours, {answer.name}, would be a second one.")
        it.lab.apply(answer, endpoints=[it.near, it.far])
        return [_port_finding(it, answer, port) for port in (80, 81)]


def _port_finding(it: Shop, service: Service, port: int) -> Finding:
    target = service.ports.get(port)
    connects = it.shop.connect_many(str(_VIP), port, count=2)
    if not connects.refused:
        connects = it.shop.connect_many(str(_VIP), port, count=40)
    kernel = ", ".join([*sorted(connects), *connects.refused])
    if set(connects) == {"inventory-a"} and target == 8080:
        return Finding(f"port {port}", "inventory-a", kernel, "right")
    if not target:
        why = f"The service row has no slot for port {port}, so svc_dnat leaves the connection to the VIP."
    elif connects.refused:
        why = f"The pods listen on 8080. Yours sends port {port} to their port {target}, where nobody listens."
    else:
        why = "The policy has changed, too: with FAILOVER and its preference, only inventory-a is chosen."
    return Finding(f"port {port}", "inventory-a", kernel, "wrong", why)


# ---- 01.3

_Walk = Callable[..., Any]
_FAR = ("10.244.2.1", 8080)


def _examine_walk(answer: Any) -> list[Finding]:
    if not callable(answer):
        raise Mistake(f"The answer is {answer!r}: expected a function of maps, address and port.")
    with open_shop() as it:
        findings = [
            _step_of(it, answer, "the service", (str(_VIP), 80), "Follow the four maps to the pod and its port."),
            _step_of(it, answer, "a port it lacks", (str(_VIP), 81), "No slot has this port: the destination stays."),
            _step_of(it, answer, "a pod directly", _FAR, "The id is that of a pod, not of a service: stay."),
            _step_of(it, answer, "an address outside", ("10.96.0.99", 80), "km_frontend has no row for it: stay."),
        ]
        it.lab.apply(it.inventory, endpoints=[it.far])
        why = "Nobody is at priority 0 now. FAILOVER takes the first priority whose count is not 0."
        findings.append(_step_of(it, answer, "inventory-b alone", (str(_VIP), 80), why))
        del it.n1.maps.endpoint[(it.inventory, 1, 1)]
        why = "The count leads to a row that is not there. No other one is tried: the destination stays."
        findings.append(_step_of(it, answer, "its row deleted", (str(_VIP), 80), why))
    return findings


def _step_of(it: Shop, walk: _Walk, case: str, asked: tuple[str, int], why: str) -> Finding:
    address: Address = ipaddress.ip_address(asked[0]), asked[1]
    kernel = attempt(it.shop, address[0], address[1]).decision.final
    case = f"{case}, {asked[0]}:{asked[1]}"
    try:
        returned = walk(it.n1.maps, *address)
    except Exception as error:
        return Finding(case, "an error", address_text(kernel), "wrong", f"Your code raised {told(error)}. {why}")
    try:
        theirs: Address = ipaddress.ip_address(str(returned[0])), int(returned[1])
    except (TypeError, ValueError, LookupError):
        wanted = f"It returned {returned!r}: expected an address and a port. {why}"
        return Finding(case, repr(returned), address_text(kernel), "wrong", wanted)
    right = theirs == kernel
    return Finding(
        case, address_text(theirs), address_text(kernel), "right" if right else "wrong", "" if right else why
    )


EXERCISES = (
    Exercise(
        "01.1",
        "predict",
        "Five connects that this notebook has not shown. Who answers: `inventory-a`, `inventory-b` or `nobody`? "
        "`visitor` is a pod on n2 and enrolled; `stranger` is on n1 and not enrolled.",
        "You can tell the address a client asks for, the node it asks on and the mesh it may not be in apart.",
        _examine_arrivals,
    ),
    Exercise(
        "01.2",
        "change",
        "Port 81 shall reach the pods as well, at the same port 8080. Change the service; all else stays as it is.",
        "Both slots lead to port 8080 of inventory-a. No program was reloaded: one row of km_service has changed.",
        _examine_second_port,
        beside="wanted",
    ),
    Exercise(
        "01.3",
        "build",
        "Write the decision yourself: a function that gets the maps of a node, an address and a port, and returns the "
        "address and port with which `connect(2)` goes on. `address in maps.frontend` says if there is a row; a "
        "service row has `.prio_endpoint_count` and `.ports`, a backend row has `.address`. The policy is FAILOVER and "
        "no priority has more than one endpoint, so nothing is left to chance. The kernel marks your work.",
        "Your function and the program in the kernel agree on every case.",
        _examine_walk,
    ),
)

"""What a test finds: pods, services and real programs, by the names of its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kmesh_lab.display import choices
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.compiler import Image
from kmesh_lab.lab import Lab, Pod
from kmesh_lab.mesh import LoadBalancing, Policy, Service

__all__ = ["STAGES", "Stage", "Test", "arguments", "check_test"]

Test = Callable[..., Any]
"""A function that raises, usually by ``assert``, when the programs do not do what they should."""

_SCOPES = ("REGION", "ZONE", "SUBZONE")


class Stage:
    """The things of one subject by name, on the programs of an image, until the lab is closed."""

    def __init__(self, lab: Lab, things: Mapping[str, Any]) -> None:
        self._lab, self._things, self._kept = lab, things, set(lab.services)

    def run(self, test: Test) -> None:
        """Call the test with what its parameters name; the services that it published are taken away again."""
        try:
            test(**{name: self._things[name] for name in arguments(test)})
        finally:
            for name in set(self._lab.services) - self._kept:
                self._lab.delete(self._lab.services[name])


@contextmanager
def _tlv(image: Image) -> Iterator[Stage]:
    with Lab(source=image) as lab:
        n1 = lab.node("n1", locality="cn-west/xian/a")
        shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
        waypoint = lab.waypoint("waypoint", n1)
        inventory = Service("inventory.shop", "10.96.0.10", {80: 8080})
        direct = Service("direct.shop", "10.96.0.20", {80: 8080})
        lab.apply(inventory, endpoints=[near], waypoint=waypoint)
        lab.apply(direct, endpoints=[near])
        things = {"lab": lab, "n1": n1, "shop": shop, "near": near, "waypoint": waypoint}
        yield Stage(lab, {**things, "inventory": inventory, "direct": direct})


@contextmanager
def _locality(image: Image) -> Iterator[Stage]:
    with Lab(source=image) as lab:
        n1 = lab.node("n1", locality="cn-west/xian/a")
        n2 = lab.node("n2", locality="cn-west/xian/b")
        n3 = lab.node("n3", locality="cn-east/beijing/a")
        shop = lab.pod("shop", n1)
        where = {"near": n1, "twin": n1, "far": n2, "remote": n3}
        pods = {name: lab.pod(name, node, listen=8080) for name, node in where.items()}

        def publish(policy: Policy | str | int, *endpoints: Pod) -> Service:
            """inventory.shop at 10.96.0.10, port 80, by REGION, ZONE and SUBZONE, with these endpoints."""
            balancing = LoadBalancing(Policy(policy) if isinstance(policy, int) else policy, _SCOPES)
            service = Service("inventory.shop", "10.96.0.10", {80: 8080}, balancing)
            lab.apply(service, endpoints=endpoints)
            return service

        yield Stage(lab, {"lab": lab, "n1": n1, "n2": n2, "n3": n3, "shop": shop, **pods, "publish": publish})


STAGES = {"tlv": _tlv, "locality": _locality}
_NAMES = {
    "tlv": ("lab", "n1", "shop", "near", "waypoint", "inventory", "direct"),
    "locality": ("lab", "n1", "n2", "n3", "shop", "near", "twin", "far", "remote", "publish"),
}


def arguments(test: Test) -> list[str]:
    """The names of the things that a test asks for."""
    return list(inspect.signature(test).parameters)


def check_test(subject: str, test: Any) -> None:
    """Raise `LabError` if this is no test of the subject."""
    if not callable(test):
        raise LabError(
            f"{test!r} is no test: expected a function that asserts something, such as def test_tlv(shop): …"
        )
    try:
        unknown = [name for name in arguments(test) if name not in _NAMES[subject]]
    except (TypeError, ValueError):  # a function written in C
        raise LabError(f"{test!r} is no test: nobody can say what it asks for") from None
    if unknown:
        known = choices(_NAMES[subject])
        name = getattr(test, "__name__", repr(test))
        raise LabError(f"{name} asks for {', '.join(map(repr, unknown))}: a test of {subject} can ask for {known}")

"""Labs on the real kernel, and the shop of the notebooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

import kmesh_lab as km


@dataclass
class Shop:
    """Two nodes in two subzones; the shop, next to inventory-a, calls inventory.shop, which prefers what is near."""

    lab: km.Lab
    n1: km.Node
    n2: km.Node
    shop: km.Pod
    near: km.Pod
    far: km.Pod
    inventory: km.Service


def open_shop(lab: km.Lab) -> Shop:
    n1 = lab.node("n1", locality="cn-west/xian/a")
    n2 = lab.node("n2", locality="cn-west/xian/b")
    shop = lab.pod("shop", node=n1)
    near = lab.pod("inventory-a", node=n1, listen=8080)
    far = lab.pod("inventory-b", node=n2, listen=8080)
    failover = km.LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE", "SUBZONE"])
    inventory = km.Service("inventory.shop", vip="10.96.0.10", ports={80: 8080}, load_balancing=failover)
    lab.apply(inventory, endpoints=[near, far])
    return Shop(lab, n1, n2, shop, near, far, inventory)


MAPS = ("km_frontend", "km_service", "km_endpoint", "km_backend", "km_manage")


def rows(*nodes: km.Node) -> dict[tuple[str, str], dict[bytes, bytes]]:
    """Every row of the maps of these nodes, byte for byte."""
    for node in nodes:
        node.publisher.settle()
    return {(node.name, name): dict(node.datapath.maps[name].rows()) for node in nodes for name in MAPS}


@pytest.fixture
def lab() -> Iterator[km.Lab]:
    """A lab of the test's own, empty; closed afterwards, and then nothing may be left."""
    lab = km.Lab()
    yield lab
    assert lab.close().left == ()


@pytest.fixture
def shop(lab: km.Lab) -> Shop:
    """The shop, for a test that changes it."""
    return open_shop(lab)


@pytest.fixture(scope="module")
def open_all_day() -> Iterator[Shop]:
    """The shop, for tests that leave it as it was."""
    with km.Lab() as lab:
        yield open_shop(lab)


@pytest.fixture
def refused() -> Callable[[type[Exception], str], AbstractContextManager[pytest.ExceptionInfo[Exception]]]:
    """Expect exactly this error: ``with refused(ValueError, "unknown policy …"):``."""

    def expect(kind: type[Exception], message: str) -> AbstractContextManager[pytest.ExceptionInfo[Exception]]:
        return pytest.raises(kind, match=f"^{re.escape(message)}$")

    return expect

"""Two labs side by side have the same names and addresses, and do not see each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kmesh_lab as km
from tests.lab.conftest import Shop, open_shop

pytestmark = pytest.mark.root


@pytest.fixture
def other() -> Iterator[Shop]:
    """A second shop in a second lab."""
    with km.Lab() as lab:
        yield open_shop(lab)


def test_the_same_names_and_addresses_lead_to_the_pods_of_the_own_lab(shop, other) -> None:
    other.lab.apply(other.inventory, endpoints=[other.far])  # another service behind the same VIP
    assert shop.shop.address == other.shop.address
    assert shop.shop.netns_cookie != other.shop.netns_cookie

    mine, theirs = (each.shop.connect("10.96.0.10", 80) for each in (shop, other))

    assert (mine.backend, theirs.backend) == (shop.near, other.far)
    assert (mine.get("/stock/1"), theirs.get("/stock/1")) == (
        "inventory-a: item 1: 7 in stock",
        "inventory-b: item 1: 7 in stock",
    )
    assert len(mine.decision.steps) == len(theirs.decision.steps) == 8


def test_a_pod_or_a_service_of_one_lab_is_unknown_in_the_other(shop, other) -> None:
    only = shop.lab.pod("only-here", shop.n1, listen=8080)
    shop.lab.apply(km.Service("only-here", "10.96.0.77", [8080]), [only])

    assert other.shop.connect_many("10.96.0.77", 8080, count=2).refused == {"EHOSTUNREACH": 2}
    with pytest.raises(TimeoutError):  # nobody on that wire has the address
        other.shop.connect("10.244.1.3", 8080, timeout=0.1)
    with pytest.raises(km.LabError, match=r"^no pod or service 'only-here' in this lab"):
        other.shop.connect("only-here", 8080)


def test_events_and_counts_are_those_of_the_own_lab(shop, other) -> None:
    with shop.lab.events() as mine, other.lab.events() as theirs:
        shop.shop.connect(shop.inventory).close()

    assert (len(mine), len(theirs)) == (4, 0)


def test_closing_one_lab_leaves_the_other_alone(shop) -> None:
    with km.Lab() as lab:
        other = open_shop(lab)
        assert other.shop.connect(other.inventory).backend is other.near
    before = dict(shop.n1.maps.frontend)

    assert shop.shop.connect(shop.inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"
    assert dict(shop.n1.maps.frontend) == before


def test_the_maps_of_a_closed_lab_are_never_those_of_the_next_one() -> None:
    with km.Lab() as lab:
        node = lab.node("n1")
        held = node.maps
    with km.Lab() as lab:
        lab.node("n1")
        with pytest.raises(OSError, match="Bad file descriptor"):
            len(held.frontend)
        with pytest.raises(km.LabError, match=r"^this lab is closed; make another one with Lab\(\)$"):
            _ = node.maps


def test_objects_of_another_lab_are_refused(shop, other, refused) -> None:
    waypoint = other.lab.waypoint("waypoint", other.n1)
    with refused(km.LabError, "node 'n1' belongs to another lab"):
        shop.lab.pod("late", other.n1)
    with refused(km.LabError, "endpoint 'inventory-a' of 'inventory.shop' is not a pod of this lab (any more)"):
        shop.lab.apply(shop.inventory, endpoints=[other.near])
    with refused(km.LabError, "waypoint 'waypoint' is not a pod of this lab (any more)"):
        shop.lab.apply(shop.inventory, endpoints=[shop.near], waypoint=waypoint)
    with refused(km.LabError, "pod 'inventory-a' is not a pod of this lab (any more)"):
        shop.shop.connect(other.near)
    shop.lab.delete(other.near)  # not one of this lab: nothing to do

    assert other.near.alive
    assert shop.near.alive

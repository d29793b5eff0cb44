"""A pod whose process is killed: others notice as in real life, its own calls say what to do, the lab goes on."""

from __future__ import annotations

import pytest

import kmesh_lab as km
from tests.lab.outside import kill

pytestmark = pytest.mark.root

GONE = r"^the process of pod 'inventory-a' has ended \(killed by signal 9\); delete the pod and make it again$"


def test_connects_to_a_killed_pod_are_refused_and_its_connections_end(shop) -> None:
    held = shop.shop.connect(shop.inventory)
    held.get("/stock/1")

    kill(shop.near)

    with pytest.raises(ConnectionRefusedError, match="ECONNREFUSED"):
        shop.shop.connect(shop.near)
    with pytest.raises(ConnectionRefusedError):
        shop.shop.connect(shop.inventory)
    with pytest.raises(ConnectionError):
        held.get("/stock/2")


def test_calls_of_a_killed_pod_say_so_and_what_to_do(shop) -> None:
    kill(shop.near)

    calls = [
        lambda: shop.near.connect(shop.far),
        lambda: shop.near.connect_many(shop.far, count=1),
        lambda: shop.near.enroll(False),
    ]
    for call in calls:
        with pytest.raises(km.PodGone, match=GONE):
            call()
    assert not shop.near.alive
    assert "<th>process</th><td>ended</td>" in shop.near._repr_html_()


def test_a_killed_pod_can_be_deleted_and_made_again(shop) -> None:
    kill(shop.near)
    shop.lab.delete(shop.near)

    assert shop.shop.connect_many(shop.inventory, count=5) == {"inventory-b": 5}
    assert set(shop.n1.maps.manage) == {shop.shop.netns_cookie, shop.shop.address}
    again = shop.lab.pod("inventory-a", shop.n1, listen=8080)
    shop.lab.apply(shop.inventory, [again, shop.far])
    assert shop.shop.connect(shop.inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"


def test_the_lab_goes_on_and_closes_with_a_killed_pod_in_it(shop) -> None:
    kill(shop.near)
    kill(shop.shop)

    shop.lab.apply(shop.inventory, [shop.far])
    visitor = shop.lab.pod("visitor", shop.lab.node("n3"))

    assert visitor.connect_many(shop.inventory, count=5) == {"inventory-b": 5}
    assert shop.lab.close().left == ()


def test_a_connection_of_a_killed_pod_lives_as_long_as_its_descriptor_is_held(shop) -> None:
    held = shop.shop.connect(shop.inventory)

    kill(shop.shop)

    assert held.get("/stock/42") == "inventory-a: item 42: 7 in stock"
    shop.lab.delete(shop.shop)
    assert held.closed

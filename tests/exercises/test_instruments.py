"""What lessons measure with: a connect that may fail, many meanwhile, and the comparison behind a priority."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.lib.pretty import pretty

import kmesh_lab as km
from kmesh_lab.exercises import attempt, connecting, explain
from kmesh_lab.exercises.bench import Shop, open_shop

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with open_shop() as it:
        yield it


def test_an_attempt_that_succeeds_names_the_pod(shop: Shop) -> None:
    found = attempt(shop.shop, shop.inventory)

    assert (found.reached, found.error, found.stopped_at) == ("inventory-a", "", "")
    assert repr(found) == "<Attempt inventory-a: frontend → service → endpoint → backend → dnat>"
    assert "10.96.0.10:80" in found._repr_html_()


def test_an_attempt_that_fails_names_the_errno_and_the_map(shop: Shop) -> None:
    found = attempt(shop.shop, "10.96.0.99", 80)

    assert (found.reached, found.error, found.stopped_at) == ("", "EHOSTUNREACH", "km_frontend")
    assert repr(found) == "<Attempt EHOSTUNREACH: frontend (no row)>"
    assert "<b>EHOSTUNREACH</b>: No route to host" in found._repr_html_()


def test_connects_go_on_while_the_block_runs_and_end_with_it(shop: Shop) -> None:
    with connecting(shop.shop, shop.inventory) as meanwhile:
        for endpoints in [[shop.far], [shop.near]] * 20:
            shop.lab.apply(shop.inventory, endpoints)
    shop.publish()
    total = meanwhile.total

    assert set(meanwhile) == {"inventory-a", "inventory-b"}
    assert meanwhile.refused == {}
    assert shop.shop.connect_many(shop.inventory, count=5) == {"inventory-a": 5}
    assert meanwhile.total == total > 0


def test_connects_end_with_a_block_that_raises(shop: Shop) -> None:
    with pytest.raises(RuntimeError), connecting(shop.shop, shop.inventory) as meanwhile:
        raise RuntimeError

    assert set(meanwhile) <= {"inventory-a"}


def test_priorities_say_what_is_stored_and_why(shop: Shop) -> None:
    seen = explain(shop.n1, shop.inventory)

    assert seen == seen.stored == {"inventory-a": 0, "inventory-b": 1}
    assert pretty(seen).splitlines() == [
        "inventory.shop, FAILOVER, seen from n1",
        "endpoint     REGION cn-west  ZONE xian  SUBZONE a  priority  in km_endpoint",
        "inventory-a  cn-west =       xian =     a =        0         0",
        "inventory-b  cn-west =       xian =     b ≠        1         1",
    ]
    assert explain(shop.n2, shop.inventory) == {"inventory-a": 1, "inventory-b": 0}


def test_scopes_behind_one_that_differs_are_not_reached(shop: Shop) -> None:
    with km.Lab() as lab:
        here = lab.node("here", locality="cn-west/xian/a")
        there = lab.node("there", locality="cn-east/xian/a")
        far = lab.pod("far", node=there, listen=8080)
        lab.apply(shop.inventory, endpoints=[far])

        text = pretty(explain(here, shop.inventory))

    assert "cn-east ≠       xian (not reached)  a (not reached)  3         3" in text


def test_random_compares_nothing(shop: Shop) -> None:
    anyone = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, km.LoadBalancing("RANDOM", ["REGION"]))
    shop.lab.apply(anyone, endpoints=[shop.near, shop.far])

    seen = explain(shop.n1, anyone)
    shop.publish()

    assert seen == {"inventory-a": 0, "inventory-b": 0}
    assert pretty(seen).startswith("inventory.shop, RANDOM, seen from n1; RANDOM compares nothing")


def test_a_row_that_is_not_there_is_shown_as_such(shop: Shop) -> None:
    del shop.n1.maps.endpoint[(shop.inventory, 1, 1)]

    seen = explain(shop.n1, shop.inventory)
    shop.publish()

    assert seen.stored == {"inventory-a": 0}
    assert "not there" in seen._repr_html_()


def test_a_service_that_is_not_published_is_an_error(shop: Shop) -> None:
    with pytest.raises(km.LabError, match=r"service 'orders\.shop' is not published on n1; `lab\.apply` publishes it"):
        explain(shop.n1, km.Service("orders.shop", "10.96.0.20", [80]))

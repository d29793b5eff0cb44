"""apply() and delete(): declarative, idempotent, the same on every node."""

from __future__ import annotations

import pytest

import kmesh_lab as km
from tests.lab.conftest import MAPS, rows

pytestmark = pytest.mark.root


def test_applying_the_same_again_changes_nothing(shop) -> None:
    before = rows(shop.n1, shop.n2)

    shop.lab.apply(shop.inventory, endpoints=[shop.near, shop.far])
    shop.lab.apply({shop.inventory: [shop.near, shop.far]})

    assert rows(shop.n1, shop.n2) == before


def test_apply_replaces_what_was_said_before(shop) -> None:
    strict = km.LoadBalancing("STRICT", ["NODE"])
    changed = km.Service("inventory.shop", vip="10.96.0.20", ports={8080: 8080}, load_balancing=strict)

    shop.lab.apply(changed, endpoints=[shop.far])

    assert shop.lab.services == {"inventory.shop": changed}
    assert shop.shop.connect_many("10.96.0.10", 80, count=2).refused == {"EHOSTUNREACH": 2}
    assert shop.shop.connect_many(changed, count=2).refused == {"EHOSTUNREACH": 2}  # STRICT: none on this node
    assert shop.lab.pod("visitor", shop.n2).connect_many(changed, count=2) == {"inventory-b": 2}


def test_delete_withdraws_a_service_and_a_second_time_does_nothing(shop) -> None:
    shop.lab.delete(shop.inventory)
    before = rows(shop.n1, shop.n2)
    shop.lab.delete(shop.inventory)

    assert rows(shop.n1, shop.n2) == before
    assert shop.lab.services == {}
    assert [len(before[node, name]) for node in ("n1", "n2") for name in MAPS[:4]] == [3, 0, 0, 3] * 2
    assert shop.shop.connect_many(shop.inventory, count=2).refused == {"EHOSTUNREACH": 2}


def test_apply_after_delete_is_as_at_first(shop) -> None:
    before = rows(shop.n1, shop.n2)

    shop.lab.delete("inventory.shop")
    shop.lab.apply(shop.inventory, endpoints=[shop.near, shop.far])

    assert rows(shop.n1, shop.n2) == before


def test_a_node_that_comes_later_knows_everything(shop) -> None:
    n3 = shop.lab.node("n3", locality="cn-west/xian/b")

    known = rows(shop.n1, n3)
    for name in ("km_frontend", "km_backend"):
        assert known["n3", name] == known["n1", name]
    assert n3.maps.service[shop.inventory] == shop.n2.maps.service[shop.inventory]
    assert dict(n3.maps.endpoint) == dict(shop.n2.maps.endpoint)
    late = shop.lab.pod("late", n3)
    assert late.connect_many(shop.inventory, count=5) == {"inventory-b": 5}


def test_a_pod_that_comes_later_is_known_on_every_node(shop) -> None:
    late = shop.lab.pod("late", shop.n2, listen=9090)

    for node in (shop.n1, shop.n2):
        assert node.maps.frontend[late.address] == node.maps.id_of(late)
        assert node.maps.backend[late].address == late.address
    with shop.shop.connect(late) as c:
        assert c.decision.steps[1].story == "leads to late"


def test_a_pod_that_is_deleted_while_it_is_an_endpoint_leaves_the_service_first(shop) -> None:
    held = shop.shop.connect(shop.inventory)
    assert held.backend is shop.near

    shop.lab.delete(shop.near)
    shop.lab.delete(shop.near)

    assert shop.shop.connect_many(shop.inventory, count=10) == {"inventory-b": 10}
    assert held.recv() == b""
    assert "inventory-a" not in shop.lab.pods
    assert not shop.near.alive
    for node in (shop.n1, shop.n2):
        assert shop.near.address not in node.maps.frontend
        assert sum(node.maps.service[shop.inventory].prio_endpoint_count) == 1
    with pytest.raises(km.PodGone, match=r"^pod 'inventory-a' is closed; make it again$"):
        shop.near.connect(shop.far)
    with pytest.raises(km.LabError, match=r"^pod 'inventory-a' is not a pod of this lab \(any more\)$"):
        shop.shop.connect(shop.near)


def test_a_name_and_an_address_can_be_used_again(shop) -> None:
    shop.lab.delete("inventory-a")

    again = shop.lab.pod("inventory-a", shop.n1, listen=8080)
    shop.lab.apply(shop.inventory, [again, shop.far])

    assert again.address == shop.near.address
    assert shop.shop.connect(shop.inventory).get("/stock/1") == "inventory-a: item 1: 7 in stock"


def test_a_pod_does_not_get_an_address_that_a_service_or_an_endpoint_has(shop) -> None:
    ghost = km.Workload("ghost", "10.244.1.4", "n9", "cn-west/xian/a")
    web = km.Service("web", "10.244.1.3", [80])
    shop.lab.apply(web, endpoints=[ghost])

    late = shop.lab.pod("late", shop.n1)
    shop.lab.delete(web)

    assert str(late.address) == "10.244.1.5"
    assert shop.n1.maps.frontend[late.address] == shop.n1.maps.id_of(late)
    assert str(shop.lab.pod("later", shop.n1).address) == "10.244.1.3"


def test_a_pod_whose_address_was_a_vip_is_known_by_it_again(shop) -> None:
    mine = shop.n1.maps.id_of(shop.near)
    web = km.Service("web", shop.near.address, {8080: 8080})
    shop.lab.apply(web, endpoints=[shop.far])
    assert shop.shop.connect(web).backend == shop.far

    moved = km.Service("web", "10.96.0.99", {8080: 8080})
    for leave in (lambda: shop.lab.apply(moved, endpoints=[shop.far]), lambda: shop.lab.delete(web)):
        shop.lab.apply(web, endpoints=[shop.far])
        assert shop.n1.maps.frontend[shop.near.address] == shop.n1.maps.id_of(web)
        leave()
        assert {node.maps.frontend[shop.near.address] for node in (shop.n1, shop.n2)} == {mine}
        assert shop.shop.connect(shop.near).backend == shop.near


def test_the_last_endpoint_can_go_and_come_back(shop) -> None:
    shop.lab.apply(shop.inventory, endpoints=[])
    assert shop.shop.connect_many(shop.inventory, count=2).refused == {"EHOSTUNREACH": 2}

    shop.lab.apply(shop.inventory, endpoints=[shop.far])
    assert shop.shop.connect_many(shop.inventory, count=2) == {"inventory-b": 2}


def test_many_services_are_published_at_once_with_workloads_that_nobody_can_reach(shop) -> None:
    ends = [km.Workload(f"w{i}", f"10.98.{i // 250}.{i % 250 + 1}", "n9", "cn-east/sh/a") for i in range(1000)]
    many = {km.Service(f"s{i}", f"10.97.{i // 250}.{i % 250 + 1}", [80]): [ends[i]] for i in range(1000)}

    shop.lab.apply(many)

    assert len(shop.lab.services) == 1001
    assert len(shop.n2.maps.service) == 1001
    assert shop.n1.maps.backend[ends[999]].address == ends[999].address
    assert shop.shop.connect_many(shop.inventory, count=5) == {"inventory-a": 5}


def test_an_unhealthy_endpoint_is_known_but_not_used(shop) -> None:
    near = shop.near.workload
    ill = km.Workload(near.name, near.address, near.node, near.locality, healthy=False)

    shop.lab.apply(shop.inventory, endpoints=[ill, shop.far])

    assert shop.shop.connect_many(shop.inventory, count=10) == {"inventory-b": 10}
    assert shop.shop.connect(shop.near).backend is shop.near


def test_pods_named_in_one_namespace_keep_their_uid_apart(lab) -> None:
    node = lab.node("n1")

    pod = lab.pod("shop", node, namespace="prod")

    assert pod.workload.uid == "Kubernetes//Pod/prod/shop"
    assert node.maps.id_of(pod) == node.maps.frontend[pod.address]

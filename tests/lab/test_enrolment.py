"""In the mesh or not: pod.enroll(), as Kmesh's CNI plugin does it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from kmesh_lab.errors import MapFull

pytestmark = pytest.mark.root


def test_a_pod_is_enrolled_by_two_rows_and_unenrolled_by_none(shop) -> None:
    manage, pod = shop.n1.maps.manage, shop.shop
    others = set(manage) - {pod.netns_cookie, pod.address}

    assert set(manage) - others == {pod.netns_cookie, ip_address("10.244.1.1")}
    assert manage.raw(pod.netns_cookie) == (pod.netns_cookie.to_bytes(8, "little") + bytes(8), bytes(4))
    assert manage.raw("10.244.1.1") == (bytes([10, 244, 1, 1]) + bytes(12), bytes(4))
    assert pod.enrolled
    assert pod.connect_many(shop.inventory, count=3) == {"inventory-a": 3}

    pod.enroll(False)

    assert set(manage) == others
    assert not pod.enrolled
    assert pod.connect_many(shop.inventory, count=3).refused == {"EHOSTUNREACH": 3}

    pod.enroll()

    assert set(manage) - others == {pod.netns_cookie, pod.address}
    assert pod.enrolled
    assert pod.connect_many(shop.inventory, count=3) == {"inventory-a": 3}


def test_enrolling_twice_changes_nothing(shop) -> None:
    before = dict(shop.n1.maps.manage)

    shop.shop.enroll()

    assert dict(shop.n1.maps.manage) == before


def test_an_ipv6_pod_is_enrolled_by_its_own_address(shop) -> None:
    pod = shop.lab.pod("shop6", shop.n2, family=6)

    assert pod.enrolled
    assert shop.n2.maps.manage[pod.address] == 0
    key, _ = shop.n2.maps.manage.raw(pod.address)
    assert key == bytes.fromhex("fd000010024400020000000000000001")

    pod.enroll(False)

    assert set(shop.n2.maps.manage) == {shop.far.netns_cookie, shop.far.address}


def test_a_pod_can_start_outside_the_mesh_and_leaves_no_row_when_it_is_deleted(shop) -> None:
    before = set(shop.n1.maps.manage)
    stranger = shop.lab.pod("stranger", shop.n1, enrolled=False)
    assert not stranger.enrolled
    assert set(shop.n1.maps.manage) == before

    stranger.enroll()
    assert len(shop.n1.maps.manage) == len(before) + 2
    shop.lab.delete(stranger)

    assert set(shop.n1.maps.manage) == before


def fill(shop, free: int = 0) -> None:
    """Leave so much room in km_manage of n1: the rest are cookies of namespaces that do not exist."""
    manage, size = shop.n1.maps.manage, shop.n1.datapath.module.maps["km_manage"].max_entries
    manage.update(dict.fromkeys(range(1, size - len(manage) - free + 1), 0))


@pytest.mark.parametrize("free", [0, 1])
def test_a_pod_for_which_km_manage_has_no_room_is_told_and_leaves_no_row(shop, free: int) -> None:
    shop.shop.enroll(False)
    fill(shop, free)
    before = set(shop.n1.maps.manage)

    with pytest.raises(MapFull, match="map km_manage has no room for pod 'shop'; delete some of its rows first"):
        shop.shop.enroll()

    assert set(shop.n1.maps.manage) == before


def test_the_programs_report_that_a_pod_cannot_join(shop) -> None:
    shop.shop.enroll(False)
    fill(shop)

    with pytest.raises(ConnectionRefusedError) as refused:
        shop.shop.connect("0.0.0.2", 929)

    stories = [step.story for step in refused.value.decision.steps if step.kind == "CONTROL"]
    assert stories == ["the network namespace cannot join the mesh: E2BIG", "the address cannot join the mesh: E2BIG"]

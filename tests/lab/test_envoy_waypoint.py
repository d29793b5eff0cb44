"""A stock Envoy as waypoint: it reads no TLV, so the programs push a PROXY header instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import kmesh_lab as km
from tests.lab.envoys import ended, kill_envoy

pytestmark = pytest.mark.root

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REQUEST = b"GET /stock/42 HTTP/1.1\r\nhost: shop\r\n\r\n"


@dataclass
class Shop:
    lab: km.Lab
    shop: km.Pod
    inventories: list[km.Pod]
    inventory: km.Service
    waypoint: km.Waypoint


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with km.Lab(waypoints="envoy") as lab:
        node = lab.node("n1", "cn-west/xian/a")
        client = lab.pod("shop", node)
        inventories = [lab.pod(f"inventory-{letter}", node, listen=8080) for letter in "ab"]
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        waypoint = lab.waypoint("waypoint", node)
        lab.apply(inventory, inventories, waypoint=waypoint)
        yield Shop(lab, client, inventories, inventory, waypoint)


@pytest.mark.parametrize("target", ["10.96.0.10", "::ffff:10.96.0.10"])
def test_a_request_passes_one_envoy_that_chooses_the_endpoint(shop: Shop, target: str) -> None:
    before = shop.waypoint.proxy.counters.inbound_requests

    connection = shop.shop.connect(target, 80)
    answers = {connection.get("/stock/42") for _ in range(60)}

    assert answers == {f"inventory-{letter}: item 42: 7 in stock" for letter in "ab"}
    assert connection.backend is shop.waypoint
    assert shop.waypoint.proxy.counters.inbound_requests - before == 60
    step = connection.decision.steps[-1]
    assert (step.kind, step.id) == ("TLV", 28)


def test_the_header_says_who_wanted_to_go_where(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop.lab, "_waypoints", km.Waypoint)  # which keeps what it reads, although it is no TLV
    for family, vip, address in ((4, "10.96.0.40", "inventory-a"), (6, "fd00:10:96::40", "inventory6")):
        client = shop.lab.pod(f"client{family}", "n1", family=family)
        server = shop.lab.pods.get(address) or shop.lab.pod(address, "n1", listen=8080, family=family)
        reader = shop.lab.waypoint(f"waypoint-reader{family}", "n1", family=family)
        service = km.Service(f"read{family}.shop", vip, {80: 8080})
        shop.lab.apply(service, [server], waypoint=reader)

        with client.connect(service) as connection:
            port = connection.socket.getsockname()[1]
            connection.send(REQUEST)
            (read,) = reader.process.request("captured", count=1, timeout=2.0)["connections"]

        kind, length = {4: (0x11, 12), 6: (0x21, 36)}[family]
        header = SIGNATURE + bytes([0x21, kind]) + length.to_bytes(2, "big")
        ends = client.address.packed + service.vips[0].packed + port.to_bytes(2, "big") + (80).to_bytes(2, "big")
        assert bytes.fromhex(read["received"])[: len(header + ends)] == header + ends
        for thing in (service, reader, client):
            shop.lab.delete(thing)


def test_an_ipv6_service_has_an_ipv6_waypoint(shop: Shop) -> None:
    client = shop.lab.pod("shop6", "n1", family=6)
    server = shop.lab.pods.get("inventory6") or shop.lab.pod("inventory6", "n1", listen=8080, family=6)
    waypoint = shop.lab.waypoint("waypoint6", "n1", family=6)
    service = km.Service("inventory6.shop", "fd00:10:96::10", {80: 8080})
    shop.lab.apply(service, [server], waypoint=waypoint)

    assert client.connect(service).get("/stock/42") == "inventory6: item 42: 7 in stock"
    assert waypoint.proxy.counters == (0, 0, 1, 1)


def test_who_sends_no_header_is_refused(shop: Shop) -> None:
    direct = shop.shop.connect(shop.waypoint, 15019)
    direct.send(REQUEST)

    assert ended(direct)


def test_a_killed_envoy_refuses_connections_and_serves_again_after_a_restart(shop: Shop) -> None:
    kill_envoy(shop.waypoint)

    with pytest.raises(ConnectionRefusedError):
        shop.shop.connect(shop.inventory)
    with pytest.raises(km.PodGone, match="waypoint 'waypoint' has ended"):
        shop.lab.apply(shop.inventory, shop.inventories, waypoint=shop.waypoint)
    assert shop.shop.connect(shop.inventories[0]).get("/stock/1") == "inventory-a: item 1: 7 in stock"

    shop.waypoint.proxy.restart()
    shop.lab.apply(shop.inventory, shop.inventories[1:], waypoint=shop.waypoint)
    assert shop.shop.connect(shop.inventory).get("/stock/42") == "inventory-b: item 42: 7 in stock"


def test_what_an_envoy_cannot_tell_is_said(shop: Shop) -> None:
    with pytest.raises(km.LabError, match="keeps no copy of what it read"):
        shop.waypoint.captured()


def test_an_unknown_kind_of_waypoint_is_refused(refused) -> None:
    with refused(ValueError, "unknown waypoints 'istio': expected kmesh or envoy"):
        km.Lab(waypoints="istio")


def test_the_untraced_build_pushes_the_header_too() -> None:
    with km.Lab(trace=False, waypoints="envoy") as lab:
        node = lab.node("n1")
        client, server = lab.pod("shop", node), lab.pod("inventory-a", node, listen=8080)
        waypoint = lab.waypoint("waypoint", node)
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(inventory, [server], waypoint=waypoint)

        assert client.connect(inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"
        assert waypoint.proxy.counters == (0, 0, 1, 1)

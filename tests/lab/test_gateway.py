"""From the phone: gateway → shop → inventory and back, over the kernel's path and over sidecars."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kmesh_lab as km
from tests.lab.envoys import kill_envoy

pytestmark = pytest.mark.root


class Story:
    """A phone that is in no mesh, a gateway, a shop that asks inventory.shop."""

    def __init__(self, lab: km.Lab, lane: str, sidecar: bool, number: int) -> None:
        node = lab.nodes["n1"]
        self.inventory = km.Service(f"{lane}-inventory.shop", f"10.96.{number}.1", {80: 8080})
        self.shops = km.Service(f"{lane}-shop.shop", f"10.96.{number}.2", {80: 8080})
        self.stock = lab.pod(f"{lane}-inventory-a", node, listen=8080, sidecar=sidecar)
        self.shop = lab.pod(f"{lane}-shop", node, listen=8080, calls=self.inventory, sidecar=sidecar)
        self.gateway = lab.gateway(f"{lane}-gateway", node, self.shops)
        lab.apply({self.inventory: [self.stock], self.shops: [self.shop]})


@pytest.fixture(scope="module")
def lab() -> Iterator[km.Lab]:
    with km.Lab() as lab:
        lab.node("n1", "cn-west/xian/a")
        lab.pod("phone", "n1", enrolled=False)
        yield lab


@pytest.fixture(scope="module")
def kernel(lab: km.Lab) -> Story:
    return Story(lab, "kernel", sidecar=False, number=1)


@pytest.fixture(scope="module")
def sidecars(lab: km.Lab) -> Story:
    return Story(lab, "sidecar", sidecar=True, number=2)


def test_the_kernel_leads_the_shop_to_the_inventory(lab: km.Lab, kernel: Story) -> None:
    with lab.events() as events:
        answer = lab.pods["phone"].connect(kernel.gateway).get("/stock/42")

    assert answer == "kernel-shop: kernel-inventory-a: item 42: 7 in stock"
    assert kernel.gateway.proxy.counters == (0, 0, 1, 1)
    (made,) = {(event.source[0], event.destination[0]) for event in events if event.direction == "OUTBOUND"}
    assert made == (kernel.shop.address, kernel.stock.address)


def test_sidecars_lead_the_shop_to_the_inventory_past_three_more_envoys(lab: km.Lab, sidecars: Story) -> None:
    answer = lab.pods["phone"].connect(sidecars.gateway).get("/stock/42")

    assert answer == "sidecar-shop: sidecar-inventory-a: item 42: 7 in stock"
    assert sidecars.gateway.proxy.counters == (0, 0, 1, 1)
    assert sidecars.shop.sidecar.counters == (1, 1, 1, 1)
    assert sidecars.stock.sidecar.counters == (0, 0, 1, 1)


def test_the_longest_path_that_fits_decides_and_a_new_service_is_found_at_once(lab: km.Lab, kernel: Story) -> None:
    phone, node = lab.pods["phone"], lab.nodes["n1"]
    later = km.Service("later.shop", "10.96.3.1", {80: 8080})
    gateway = lab.gateway("edge", node, {"/": kernel.shops, "/stock": kernel.inventory, "/stock/7": later}, listen=80)

    assert phone.connect(gateway).get("/stock/42") == "kernel-inventory-a: item 42: 7 in stock"
    assert phone.connect(gateway).get("/") == "kernel-shop: ask for /stock/42"
    assert phone.connect(gateway).get("/stock/7") == "kernel-inventory-a: item 7: 8 in stock"
    lab.apply(later, [kernel.shop])
    assert phone.connect(gateway).get("/stock/7") == "kernel-shop: kernel-inventory-a: item 7: 8 in stock"

    assert repr(gateway).startswith(f"<Gateway edge {gateway.address}:80, / → kernel-shop.shop, /stock → kernel-inve")
    assert "<th>path /stock</th>" in gateway._repr_html_()
    lab.delete(later)
    lab.delete(gateway)


def test_a_gateway_speaks_mutual_tls_with_those_who_want_it(lab: km.Lab) -> None:
    node = lab.nodes["n1"]
    server = lab.pod("server", node, listen=8080, sidecar=True, mtls=True)
    secret = km.Service("secret.shop", "10.96.4.1", {80: 8080})
    with_certificate = lab.gateway("with-certificate", node, secret, mtls=True)
    without = lab.gateway("without", node, secret)
    lab.apply(secret, [server])

    phone = lab.pods["phone"]
    assert phone.connect(with_certificate).get("/stock/42") == "server: item 42: 7 in stock"
    assert "upstream connect error" in phone.connect(without).get("/stock/42")
    for pod in (with_certificate, without, server):
        lab.delete(pod)
    lab.delete(secret)


def test_a_gateway_whose_envoy_is_killed_says_so_and_starts_again(lab: km.Lab, kernel: Story) -> None:
    phone = lab.pods["phone"]
    kill_envoy(kernel.gateway)

    assert not kernel.gateway.alive
    with pytest.raises(ConnectionRefusedError):
        phone.connect(kernel.gateway)
    assert kernel.shop.connect(kernel.inventory).get("/stock/1") == "kernel-inventory-a: item 1: 7 in stock"

    kernel.gateway.proxy.restart()
    assert phone.connect(kernel.gateway).get("/stock/1") == "kernel-shop: kernel-inventory-a: item 1: 7 in stock"


def test_a_shop_whose_service_is_gone_says_that(lab: km.Lab, kernel: Story, sidecars: Story) -> None:
    for story in (kernel, sidecars):
        lab.delete(story.inventory)
        assert lab.pods["phone"].connect(story.gateway).get("/stock/42").startswith(f"{story.shop.name}: 10.96.")
        lab.apply(story.inventory, [story.stock])


@pytest.mark.parametrize(
    ("routes", "fields", "message"),
    [
        ("shop", {}, "routes 'shop' of gateway 'edge': expected a service, or {'/stock': service}"),
        ({}, {}, "routes {} of gateway 'edge': expected a service, or {'/stock': service}"),
        ({"stock": 0}, {}, "route 'stock' of gateway 'edge': expected the start of a path, as '/stock'"),
        ({"/": 0}, {}, "route '/' of gateway 'edge' leads to 0: expected a Service"),
        ({"/": 0}, {"listen": 15000}, "gateway 'edge' cannot listen on port 15000: it is the admin port of its Envoy"),
        (
            km.Service("six", "fd00:10:96::1", [80]),
            {},
            "gateway 'edge' has an IPv4 address, service 'six.default' an IPv6 VIP: a gateway serves one family",
        ),
    ],
)
def test_routes_that_lead_nowhere_are_refused(lab: km.Lab, refused, routes, fields, message) -> None:
    with refused(ValueError, message):
        lab.gateway("edge", "n1", routes, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"calls": "inventory", "listen": 1}, "pod 'x' calls 'inventory': expected a Service"),
        (
            {"calls": km.Service("i", "10.96.9.9", [80])},
            "pod 'x' calls 'i.default' for those who ask it: give it a port to listen on",
        ),
        (
            {"calls": km.Service("i", "fd00:10:96::1", [80]), "listen": 80},
            "pod 'x' has an IPv4 address, service 'i.default' that it calls an IPv6 VIP: choose one family",
        ),
    ],
)
def test_a_pod_that_cannot_call_is_refused(lab: km.Lab, refused, fields, message) -> None:
    with refused(ValueError, message):
        lab.pod("x", "n1", **fields)

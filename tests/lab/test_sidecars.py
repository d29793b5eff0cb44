"""The Envoy lane: the same services, through an Envoy beside each pod instead of through the kernel's maps."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import kmesh_lab as km

pytestmark = pytest.mark.root

NEAREST = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
STRICT = km.LoadBalancing("STRICT", ["REGION", "ZONE", "SUBZONE"])


@dataclass
class Lanes:
    """One lab with both data planes: a shop and inventories in the kernel's mesh, and the same with sidecars."""

    lab: km.Lab
    shop: km.Pod
    inventories: list[km.Pod]
    inventory: km.Service
    sidecar_shop: km.Pod
    sidecar_inventories: list[km.Pod]
    sidecar_inventory: km.Service

    def restore(self) -> None:
        self.lab.apply({self.inventory: self.inventories, self.sidecar_inventory: self.sidecar_inventories})


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with km.Lab() as lab:
        n1, n2 = lab.node("n1", "cn-west/xian/a"), lab.node("n2", "cn-west/chengdu/b")
        shop, sidecar_shop = lab.pod("shop", n1), lab.pod("sidecar-shop", n1, sidecar=True)
        plain = [lab.pod(f"inventory-{letter}", node, listen=8080) for letter, node in (("a", n1), ("b", n2))]
        proxied = [
            lab.pod(f"sidecar-inventory-{letter}", node, listen=8080, sidecar=True)
            for letter, node in (("a", n1), ("b", n2))
        ]
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, NEAREST)
        same = km.Service("inventory.sidecars", "10.96.0.20", {80: 8080}, NEAREST)
        lanes = Lanes(lab, shop, plain, inventory, sidecar_shop, proxied, same)
        lanes.restore()
        yield lanes


@pytest.fixture
def as_before(lanes: Lanes) -> Iterator[None]:
    """What is published is afterwards as it was."""
    yield
    lanes.restore()


def total(pods: list[km.Pod]) -> tuple[int, int, int, int]:
    """The sums of what their Envoys counted: connections and requests, outbound and inbound."""
    counts = [pod.sidecar.counters for pod in pods if pod.sidecar]
    return tuple(map(sum, zip(*counts, strict=True)))


def kill_envoy(pod: km.Pod) -> None:
    process = os.pidfd_open(pod.sidecar.pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], 5)
    finally:
        os.close(process)


def test_a_hundred_requests_get_the_same_answers_from_the_kernel_and_through_two_envoys_each(lanes: Lanes) -> None:
    proxies = [lanes.sidecar_shop, *lanes.sidecar_inventories]
    before = total(proxies)

    through_the_kernel = [lanes.shop.connect(lanes.inventory).get(f"/stock/{item}") for item in range(100)]
    assert total(proxies) == before

    through_envoys = [lanes.sidecar_shop.connect(lanes.sidecar_inventory).get(f"/stock/{item}") for item in range(100)]
    assert [f"sidecar-{answer}" for answer in through_the_kernel] == through_envoys
    outbound_connections, outbound, _, inbound = (now - was for now, was in zip(total(proxies), before, strict=True))
    assert (outbound_connections, outbound, inbound) == (100, 100, 100)


def test_the_kernel_leaves_a_pod_with_a_sidecar_alone_and_envoy_ends_its_connection(lanes: Lanes) -> None:
    connection = lanes.sidecar_shop.connect(lanes.sidecar_inventory)

    assert not lanes.sidecar_shop.enrolled
    assert str(connection.peer[0]) == "10.96.0.20"
    assert connection.backend is None
    assert [step.kind for step in connection.decision.steps] == ["CONNECT", "NOT_MANAGED"]


@pytest.mark.parametrize("policy", [NEAREST, STRICT, km.LoadBalancing("RANDOM")], ids=str)
@pytest.mark.usefixtures("as_before")
def test_both_lanes_put_the_same_endpoints_into_the_same_order(lanes: Lanes, policy: km.LoadBalancing) -> None:
    services = [
        km.Service(each.name, each.vips, each.ports, policy) for each in (lanes.inventory, lanes.sidecar_inventory)
    ]
    lanes.lab.apply(dict(zip(services, (lanes.inventories, lanes.sidecar_inventories), strict=True)))
    maps = lanes.shop.node.maps
    kernel = sorted(
        (key.prio, maps.name_of(uid))
        for key, uid in maps.endpoint.items()
        if key.service_id == maps.id_of(services[0]) and (policy != STRICT or key.prio == 0)
    )
    ranks = sorted({priority for priority, _ in kernel})
    names = {str(pod.address): pod.name for pod in lanes.sidecar_inventories}
    envoy = [(each.priority, names[each.address]) for each in lanes.sidecar_shop.sidecar.endpoints(services[1])]

    assert envoy == [(ranks.index(priority), f"sidecar-{name}") for priority, name in kernel]


@pytest.mark.usefixtures("as_before")
def test_a_changed_policy_and_a_changed_endpoint_reach_a_running_envoy_at_once(lanes: Lanes) -> None:
    service, (near, far) = lanes.sidecar_inventory, lanes.sidecar_inventories
    pids = [pod.sidecar.pid for pod in (lanes.sidecar_shop, near, far)]
    kept = lanes.sidecar_shop.connect(service)
    assert kept.get("/stock/42").startswith("sidecar-inventory-a")

    lanes.lab.apply(service, endpoints=[far])
    assert kept.get("/stock/42").startswith("sidecar-inventory-b")  # HTTP: each request is routed anew

    spread = km.Service(service.name, service.vips, service.ports, km.LoadBalancing("RANDOM"))
    lanes.lab.apply(spread, endpoints=[near, far])
    assert {kept.get("/stock/42").partition(":")[0] for _ in range(60)} == {near.name, far.name}

    strict = km.Service(service.name, service.vips, service.ports, STRICT)
    lanes.lab.apply(strict, endpoints=[far])
    assert kept.get("/stock/42") == "no healthy upstream"
    assert [pod.sidecar.pid for pod in (lanes.sidecar_shop, near, far)] == pids


def test_no_request_fails_while_endpoints_change(lanes: Lanes) -> None:
    service, (near, far) = lanes.sidecar_inventory, lanes.sidecar_inventories
    answers = []
    for round_ in range(20):
        lanes.lab.apply(service, endpoints=[(near, far)[round_ % 2]])
        answers += [lanes.sidecar_shop.connect(service).get("/stock/1") for _ in range(5)]
    lanes.restore()

    expected = [f"sidecar-inventory-{'ab'[round_ % 2]}: item 1: 7 in stock" for round_ in range(20) for _ in range(5)]
    assert answers == expected


def test_the_admin_port_answers_inside_the_pod_only(lanes: Lanes) -> None:
    sidecar = lanes.sidecar_shop.sidecar

    assert sidecar.admin("/ready") == "LIVE\n"
    for other in (lanes.shop, lanes.sidecar_inventories[0]):
        assert "connect error" in other.connect(lanes.sidecar_shop, 15000).get(
            "/ready"
        )  # of the pod's, not of the admin
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 15000), timeout=1).close()

"""The Envoy lane: the same services, through an Envoy beside each pod instead of through the kernel's maps."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import kmesh_lab as km
from tests.lab.envoys import all_of, ended, total

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


def test_a_hundred_requests_get_the_same_answers_from_the_kernel_and_through_two_envoys_each(lanes: Lanes) -> None:
    proxies = [lanes.sidecar_shop, *lanes.sidecar_inventories]
    before = total(proxies)

    through_the_kernel = [lanes.shop.connect(lanes.inventory).get(f"/stock/{item}") for item in range(100)]
    assert total(proxies) == before

    through_envoys = [lanes.sidecar_shop.connect(lanes.sidecar_inventory).get(f"/stock/{item}") for item in range(100)]
    assert [f"sidecar-{answer}" for answer in through_the_kernel] == through_envoys
    after = total(proxies)
    assert after.outbound_connections - before.outbound_connections == 100
    assert after.outbound_requests - before.outbound_requests == 100
    assert after.inbound_requests - before.inbound_requests == 100


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


@pytest.mark.parametrize("sidecar", ["http", "tcp"])
def test_mutual_tls_encrypts_what_leaves_the_pod_and_refuses_who_has_no_certificate(lanes: Lanes, sidecar: str) -> None:
    lab, node = lanes.lab, lanes.shop.node
    client = lab.pod("client", node, sidecar=sidecar, mtls=True)
    server = lab.pod("server", node, listen=8080, sidecar=sidecar, mtls=True)
    secret = km.Service("secret.shop", "10.96.0.30", {80: 8080})
    lab.apply(secret, [server])
    every = socket.htons(3)  # ETH_P_ALL
    asked = server.process.request("socket", family=socket.AF_PACKET, type=socket.SOCK_RAW, proto=every)
    with asked.socket() as wire:
        wire.bind(("eth0", 3))
        wire.settimeout(0.5)
        assert client.connect(secret).get("/stock/42") == "server: item 42: 7 in stock"
        seen = b"".join(all_of(wire))
    assert b"stock" not in seen
    assert b"\x16\x03\x01" in seen  # a TLS handshake

    assert client.connect(lanes.sidecar_inventory).get("/stock/42") == "sidecar-inventory-a: item 42: 7 in stock"
    without = lanes.sidecar_shop.connect(secret)
    assert "upstream connect error" in without.get("/stock/42")
    with pytest.raises((ConnectionError, TimeoutError)):
        lanes.shop.connect(secret).get("/stock/42")
    lab.delete(secret)
    lab.delete(server)
    lab.delete(client)


def test_a_tcp_sidecar_carries_any_bytes_and_counts_connections_only(lanes: Lanes) -> None:
    lab, node = lanes.lab, lanes.shop.node
    client = lab.pod("client", node, sidecar="tcp")
    server = lab.pod("server", node, listen=8080, sidecar="tcp")
    echo = km.Service("echo.shop", "10.96.0.31", {80: 8080})
    lab.apply(echo, [server])

    with client.connect(echo) as connection:
        connection.send(b"HELLO")
        assert connection.recv() == b"server: HELLO"
        assert total([client, server]) == (1, 0, 1, 0)

    lab.delete(server)
    with client.connect(echo) as connection:  # to its own sidecar, which has nowhere to go
        assert ended(connection)
    lab.delete(echo)
    lab.delete(client)


def test_ipv6_pods_have_sidecars_too(lanes: Lanes) -> None:
    lab, node = lanes.lab, lanes.shop.node
    client = lab.pod("client", node, family=6, sidecar=True)
    server = lab.pod("server", node, listen=8080, family=6, sidecar=True)
    service = km.Service("six.shop", "fd00:10:96::6", {80: 8080})
    lab.apply(service, [server])

    assert client.connect(service).get("/stock/42") == "server: item 42: 7 in stock"
    assert total([client, server]) == (1, 1, 1, 1)
    lab.delete(service)
    lab.delete(server)
    lab.delete(client)


def test_a_pod_that_is_its_own_endpoint_reaches_itself_through_both_sides_of_its_envoy(lanes: Lanes) -> None:
    (near, _), service = lanes.sidecar_inventories, lanes.sidecar_inventory
    before = near.sidecar.counters

    assert near.connect(service).get("/stock/42") == "sidecar-inventory-a: item 42: 7 in stock"

    after = near.sidecar.counters
    assert (after.outbound_requests - before.outbound_requests, after.inbound_requests - before.inbound_requests) == (
        1,
        1,
    )


def test_what_is_no_service_passes_through_as_bytes(lanes: Lanes) -> None:
    with lanes.sidecar_shop.connect(lanes.inventories[0]) as connection:
        connection.send(b"HELLO")
        assert connection.recv() == b"inventory-a: HELLO"


def test_a_sidecar_shows_what_it_is_and_what_it_counted(lanes: Lanes) -> None:
    sidecar = lanes.sidecar_shop.sidecar

    assert repr(sidecar) == "<Sidecar of sidecar-shop: Envoy, http, running>"
    assert "<th>outbound requests</th>" in sidecar._repr_html_()
    assert 10_000_000 < sidecar.memory.private <= sidecar.memory.pss <= sidecar.memory.rss
    assert lanes.shop.sidecar is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sidecar": "grpc"}, "unknown sidecar of pod 'client' 'grpc': expected http or tcp"),
        ({"sidecar": 1}, "unknown sidecar of pod 'client' 1: expected http or tcp"),
        ({"mtls": True}, "pod 'client': mtls needs a proxy that speaks it: give it a sidecar, too"),
        (
            {"sidecar": True, "listen": 15006},
            "pod 'client' cannot listen on port 15006: its sidecar does; 15000, 15001, 15006 are Envoy's",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(lanes: Lanes, refused, fields, message) -> None:
    with refused(ValueError, message):
        lanes.lab.pod("client", lanes.shop.node, **fields)

    assert "client" not in lanes.lab.pods

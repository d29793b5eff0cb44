"""connect(): where it goes and what the programs say about it, TCP and UDP, IPv4, IPv6 and mapped."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest
from IPython.lib.pretty import pretty

import kmesh_lab as km

pytestmark = pytest.mark.root


def kinds(decision) -> list[str]:
    return [step.kind for step in decision.steps]


def test_a_connect_to_a_service_goes_to_an_endpoint_and_every_manager_reports(open_all_day) -> None:
    day = open_all_day

    with day.shop.connect(day.inventory, 80) as c:
        assert kinds(c.decision) == [
            *("CONNECT", "FRONTEND", "SERVICE", "ENDPOINT", "BACKEND", "DNAT", "VERDICT", "ESTABLISHED")
        ]
        assert (c.backend, c.peer) == (day.near, (ip_address("10.244.1.2"), 8080))
        assert (c.decision.original, c.decision.final) == ((ip_address("10.96.0.10"), 80), c.peer)
        assert c.decision.rewritten
        stories = [step.story for step in c.decision.steps]
    assert stories == [
        "connect(2) to 10.96.0.10:80",
        "leads to inventory.shop",
        "inventory.shop, policy FAILOVER",
        "priority 0, index 1: inventory-a",
        "inventory-a",
        "service port becomes 10.244.1.2:8080",
        "connect(2) goes on to 10.244.1.2:8080",
        "connected",
    ]


def test_each_node_decides_for_itself(open_all_day, request) -> None:
    day = open_all_day
    visitor = day.lab.pod("visitor", node=day.n2)
    request.addfinalizer(lambda: day.lab.delete(visitor))

    assert day.shop.connect_many(day.inventory, count=50) == {"inventory-a": 50}
    assert visitor.connect_many(day.inventory, count=50) == {"inventory-b": 50}


def test_a_target_may_be_a_service_a_pod_an_address_or_a_name(open_all_day) -> None:
    day = open_all_day
    targets = [
        *(day.inventory, "inventory.shop", "10.96.0.10", ip_address("10.96.0.10")),
        *(day.near, "inventory-a", "10.244.1.2"),
    ]
    ports = [None, None, 80, 80, None, None, 8080]

    reached = [day.shop.connect(target, port).backend for target, port in zip(targets, ports, strict=True)]

    assert reached == [day.near] * 7


def test_the_name_of_a_service_in_the_default_namespace_may_be_short(lab) -> None:
    node = lab.node("n1")
    client, server = lab.pod("shop", node), lab.pod("inventory-a", node, listen=8080)
    lab.apply(km.Service("inventory", "10.96.0.10", [8080]), [server])

    assert client.connect("inventory").backend is server
    assert client.connect("inventory.default").backend is server


def test_an_unmanaged_pod_connects_as_if_there_were_no_mesh(open_all_day, request) -> None:
    day = open_all_day
    stranger = day.lab.pod("stranger", node=day.n1, enrolled=False)
    request.addfinalizer(lambda: day.lab.delete(stranger))

    with pytest.raises(OSError, match="EHOSTUNREACH") as refused:
        stranger.connect(day.inventory)
    direct = stranger.connect(day.near)

    assert kinds(refused.value.decision) == kinds(direct.decision) == ["CONNECT", "NOT_MANAGED"]
    assert not direct.decision.rewritten
    assert repr(direct.decision) == "<Decision 10.244.1.2:8080 → 10.244.1.2:8080: not managed>"


def test_a_connect_that_fails_carries_the_decision_of_the_programs(open_all_day) -> None:
    with pytest.raises(OSError, match="could not connect") as refused:
        open_all_day.shop.connect("10.96.0.99", 80)

    error = refused.value
    assert error.errno == errno.EHOSTUNREACH
    message = "pod 'shop' could not connect to 10.96.0.99:80: EHOSTUNREACH, No route to host"
    assert str(error) == f"[Errno 113] {message}"
    assert error.__notes__ == ["<Decision 10.96.0.99:80 → 10.96.0.99:80: frontend>"]
    assert pretty(error.decision).splitlines()[2].split("  ")[-1] == "no row: an address outside the mesh"


def test_a_service_without_that_port_leaves_the_destination_as_it_is(open_all_day) -> None:
    day = open_all_day

    with pytest.raises(OSError, match="EHOSTUNREACH") as refused:
        day.shop.connect(day.inventory, 81)

    decision = refused.value.decision
    assert kinds(decision)[-2:] == ["DNAT", "VERDICT"]
    assert decision.steps[-2].story == "the service has no such port"
    assert not decision.rewritten


def test_a_closed_port_of_a_pod_is_refused_as_anywhere(open_all_day) -> None:
    with pytest.raises(ConnectionRefusedError, match="ECONNREFUSED"):
        open_all_day.shop.connect(open_all_day.near, 9)


def test_a_connect_that_nobody_answers_ends_at_the_timeout(open_all_day) -> None:
    day = open_all_day
    # An address of the wire that no pod has: nobody says who it is.
    with pytest.raises(TimeoutError, match="ETIMEDOUT, Connection timed out"):
        day.shop.connect("10.244.9.9", 80, timeout=0.2)


def test_connect_many_counts_what_was_reached_and_what_was_refused(open_all_day) -> None:
    day = open_all_day

    reached = day.shop.connect_many(day.inventory, count=200)
    refused = day.shop.connect_many("10.96.0.99", 80, count=3)

    assert reached == {"inventory-a": 200}
    assert (reached.total, reached["inventory-b"], "inventory-b" in reached) == (200, 0, False)
    assert repr(reached) == "<Connects 200: inventory-a 200>"
    assert (dict(refused), refused.refused, refused.total) == ({}, {"EHOSTUNREACH": 3}, 3)
    assert repr(refused) == "<Connects 3: none succeeded, EHOSTUNREACH 3>"


def test_random_reaches_every_endpoint_about_as_often(open_all_day, request) -> None:
    day = open_all_day
    anywhere = km.Service("anywhere", "10.96.0.11", {80: 8080})
    request.addfinalizer(lambda: day.lab.delete(anywhere))
    day.lab.apply(anywhere, [day.near, day.far])

    reached = day.shop.connect_many(anywhere, count=600)

    assert set(reached) == {"inventory-a", "inventory-b"}
    assert reached.total == 600
    assert 200 < reached["inventory-a"] < 400  # more than 8 standard deviations


def test_a_decision_is_complete_also_after_more_connects_than_the_ring_buffer_holds(open_all_day) -> None:
    day = open_all_day
    day.shop.connect_many(day.inventory, count=2500)

    with day.shop.connect(day.inventory) as c:
        assert len(c.decision.steps) == 8


def test_udp_between_pods_is_none_of_the_programs_business(open_all_day) -> None:
    day = open_all_day

    with day.shop.connect(day.far, protocol="udp") as c:
        assert c.send(b"anybody there?") == 14
        assert c.recv() == b"inventory-b: anybody there?"
        assert kinds(c.decision) == ["CONNECT", "NOT_TCP"]
        assert c.peer == (day.far.address, 8080)
    assert day.shop.connect_many(day.far, count=5, protocol="udp") == {"inventory-b": 5}


@pytest.fixture(scope="module")
def six(open_all_day):
    """A service, a server and a client with IPv6 addresses."""
    lab = open_all_day.lab
    client = lab.pod("shop6", open_all_day.n1, family=6)
    server = lab.pod("inventory6", open_all_day.n2, listen=8080, family=6)
    service = km.Service("inventory6.shop", "fd00:10:96::10", {80: 8080})
    lab.apply(service, [server])
    return client, server, service


def test_an_ipv6_pod_reaches_an_ipv6_service(six) -> None:
    client, server, service = six

    with client.connect(service) as c:
        assert c.get("/stock/42") == "inventory6: item 42: 7 in stock"
        assert c.backend is server
        assert kinds(c.decision)[:7] == ["CONNECT", "FRONTEND", "SERVICE", "ENDPOINT", "BACKEND", "DNAT", "VERDICT"]
        assert c.peer == (ip_address("fd00:10:244:2::1"), 8080)
        shown = "<Connection shop6 → inventory6 [fd00:10:244:2::1]:8080 (asked for [fd00:10:96::10]:80)>"
        assert repr(c) == shown


def test_udp_and_many_connects_work_over_ipv6(six) -> None:
    client, server, service = six

    with client.connect(server, protocol="udp") as c:
        c.send(b"hello")
        assert c.recv() == b"inventory6: hello"
    assert client.connect_many(service, count=20) == {"inventory6": 20}


def test_an_ipv4_mapped_connect_finds_the_ipv4_service(open_all_day) -> None:
    day = open_all_day

    with day.shop.connect("::ffff:10.96.0.10", 80) as c:
        assert c.get("/stock/42") == "inventory-a: item 42: 7 in stock"
        assert c.backend is day.near
        assert c.peer == (ip_address("::ffff:10.244.1.2"), 8080)
        assert repr(c) == (
            "<Connection shop → inventory-a [::ffff:10.244.1.2]:8080 (asked for [::ffff:10.96.0.10]:80)>"
        )
        assert c.decision.steps[3].story == "priority 0, index 1: inventory-a"


def test_a_client_without_an_address_of_the_family_fails_after_the_decision(open_all_day, six) -> None:
    with pytest.raises(OSError, match="ENETUNREACH") as refused:
        open_all_day.shop.connect(six[2])

    assert refused.value.decision.final == (six[1].address, 8080)


def test_without_trace_connections_work_and_decisions_are_empty() -> None:
    with km.Lab(trace=False) as lab:
        node = lab.node("n1")
        client, server = lab.pod("shop", node), lab.pod("inventory-a", node, listen=8080)
        lab.apply(km.Service("inventory", "10.96.0.10", {80: 8080}), [server])

        c = client.connect("inventory")

        assert c.backend is server
        assert repr(c.decision) == "<Decision: no program reported a step>"
        assert repr(c) == "<Connection shop → inventory-a 10.244.1.2:8080>"

"""Connects go on while services change: none fails, none reaches a pod that is not meant."""

import random
import time
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from pathlib import Path

import pytest
from kmesh_order import KmeshOrder

import kmesh_lab as km
from kmesh_lab.datapath.plan import Publication

pytestmark = pytest.mark.root

SLOW_READER = Path(__file__).with_name("slow_reader.c")
LONGER_THAN_A_READ = 0.004  # seconds; a slow read takes 1.5 ms

CHANGES = 1000
SCOPES = ["REGION", "ZONE", "SUBZONE"]
POLICIES = (km.LoadBalancing("RANDOM"), km.LoadBalancing("STRICT", SCOPES), km.LoadBalancing("FAILOVER", SCOPES))


@contextmanager
def connecting(clients, address="10.96.0.10", port=80):
    """Connects from each client, one after the other, until the end of the block; then yields what came of them."""
    replies = {}
    loops = [
        (each, each.process.request("loop_start", address=address, port=port, log=True)["loop"]) for each in clients
    ]
    try:
        yield replies
    finally:
        for client, loop in loops:
            replies[client] = client.process.request("loop_stop", loop=loop).values


def failed(replies):
    return sum(len(each["errors"]) for each in replies.values())


def reached(replies):
    return {address for each in replies.values() for address, _, _ in each["peers"]}


# ---- (a) a thousand changes


@pytest.fixture
def shop():
    """Two nodes in two zones; endpoints in both, and three pods that want to connect."""
    with km.Lab(trace=False) as lab:
        n1, n2 = lab.node("n1", "cn-west/xian/a"), lab.node("n2", "cn-west/xian/b")
        lab.clients = [lab.pod("shop-a", n1), lab.pod("shop-b", n1), lab.pod("shop-c", n2)]
        lab.near = [lab.pod(name, n1, listen=8080) for name in ("near-a", "near-b")]
        lab.far = [lab.pod(name, n2, listen=8080) for name in ("far-a", "far-b")]
        yield lab


def test_a_thousand_changes_of_policy_and_endpoints_while_three_pods_connect(shop):
    chance = random.Random(20261123)
    begins, ends, meant = [], [], []  # of each change, and the addresses that each node may choose afterwards

    def change():
        balancing = chance.choice(POLICIES)
        near = chance.sample(shop.near, chance.randint(1, 2))
        far = chance.sample(shop.far, chance.randint(1, 2))
        endpoints = chance.sample(near + far, len(near + far))
        service = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, balancing)
        for node in shop.nodes.values():
            node.publisher.settle()
        begins.append(time.monotonic())
        shop.apply(service, endpoints)
        ends.append(time.monotonic())
        local = {"n1": near, "n2": far} if balancing is not POLICIES[0] else dict.fromkeys(("n1", "n2"), endpoints)
        meant.append({node: {str(pod.address) for pod in pods} for node, pods in local.items()})

    change()
    with connecting(shop.clients) as replies:
        for _ in range(CHANGES):
            change()

    wrong = []
    for client, reply in replies.items():
        peers = [address for address, _, _ in reply["peers"]]
        assert len(reply["log"]) > CHANGES
        assert set(peers) == {str(pod.address) for pod in shop.near + shop.far}
        for start, end, peer in reply["log"]:
            # Change i may be seen from its own begin until the end of the next.
            first, last = max(bisect_left(ends, start) - 1, 0), bisect_right(begins, end)
            allowed = set().union(*(each[client.node.name] for each in meant[first:last]))
            if peer is None or peers[peer] not in allowed:
                wrong.append((client.name, start, end, peer, allowed))
    assert failed(replies) == 0
    assert wrong == []


# ---- (b) a reader that is slow between the count and the row


@pytest.fixture
def slow():
    """One node with slow readers, a service of two endpoints, and two pods that want to connect."""
    with km.Lab(trace=False, source=SLOW_READER) as lab:
        node = lab.node("n1")
        lab.node_maps = node.datapath
        lab.clients = [lab.pod("shop-a", node), lab.pod("shop-b", node)]
        lab.a, lab.b = (lab.pod(name, node, listen=8080) for name in ("a", "b"))
        lab.service = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(lab.service, [lab.a, lab.b])
        yield lab


ROUNDS = 50
BUSY_MACHINE = 10  # where the clients hardly run, none of them may be in the window in so few rounds


def test_in_the_order_of_kmesh_a_reader_that_is_slow_misses_the_last_endpoint(slow):
    order, views = KmeshOrder(slow.node_maps), slow.nodes["n1"].maps
    service, b = views.id_of(slow.service), views.id_of(slow.b)

    for _ in range(BUSY_MACHINE):
        with connecting(slow.clients) as replies:
            for _ in range(3 * ROUNDS):
                order.remove(service, prio=0, index=2)
                time.sleep(LONGER_THAN_A_READ)
                order.add(service, prio=0, uid=b)
                time.sleep(LONGER_THAN_A_READ)
        if failed(replies):
            break

    assert failed(replies) > 0  # went on to the VIP, which no route leads to
    assert reached(replies) == {str(slow.a.address), str(slow.b.address)}
    assert views.service[slow.service].prio_endpoint_count[0] == 2


def test_in_our_order_no_reader_misses_anything_however_slow(slow):
    with connecting(slow.clients) as replies:
        for _ in range(ROUNDS):
            slow.apply(slow.service, [slow.a])
            time.sleep(LONGER_THAN_A_READ)
            slow.apply(slow.service, [slow.a, slow.b])
            time.sleep(LONGER_THAN_A_READ)

    assert failed(replies) == 0
    assert reached(replies) == {str(slow.a.address), str(slow.b.address)}
    assert min(len(each["log"]) for each in replies.values()) > ROUNDS


def test_no_reader_misses_anything_when_a_change_is_taken_back(slow):
    publisher = slow.nodes["n1"].publisher
    slow.apply(slow.service, [slow.a])

    with connecting(slow.clients) as replies:
        for _ in range(ROUNDS):
            applied = publisher.apply([Publication(slow.service, (slow.a.workload, slow.b.workload))])
            time.sleep(LONGER_THAN_A_READ)
            applied.undo()
            time.sleep(LONGER_THAN_A_READ)

    assert failed(replies) == 0
    assert reached(replies) == {str(slow.a.address), str(slow.b.address)}


def test_no_reader_takes_the_row_of_another_service_that_changes_with_its_own(slow):
    """The kernel uses the memory of a replaced row for the next one at once."""
    other = km.Service("orders.shop", "10.96.0.11", {81: 8081})

    with connecting(slow.clients) as replies:
        for _ in range(ROUNDS):
            slow.apply({slow.service: [slow.a], other: [slow.a]})
            slow.apply({slow.service: [slow.a, slow.b], other: [slow.a, slow.b]})

    assert failed(replies) == 0
    assert min(len(each["log"]) for each in replies.values()) > ROUNDS

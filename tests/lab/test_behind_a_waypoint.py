"""A service behind a waypoint, end to end: connect, TLV, forward, answer; and without it again."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import kmesh_lab as km
from tests.lab.outside import kill

pytestmark = pytest.mark.root

# 10.96.0.10 port 80, the same as an AF_INET6 socket says it, and [fd00:10:96::10] port 80.
TLV_V4 = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")
TLV_MAPPED = bytes.fromhex("01 00000012 00000000000000000000ffff0a60000a 0050 fe 00000000")
TLV_V6 = bytes.fromhex("01 00000012 fd000010009600000000000000000010 0050 fe 00000000")


@pytest.fixture
def waypoint(shop):
    """inventory.shop behind a waypoint on n1."""
    waypoint = shop.lab.waypoint("waypoint", node=shop.n1)
    shop.lab.apply(shop.inventory, endpoints=[shop.near, shop.far], waypoint=waypoint)
    return waypoint


def test_the_request_goes_through_the_waypoint_and_is_answered_by_an_endpoint(shop, waypoint) -> None:
    with shop.shop.connect(shop.inventory) as c:
        answers = {c.get("/stock/42"), c.get("/stock/42")}
        kinds = [step.kind for step in c.decision.steps]
        assert c.backend is waypoint
        assert c.decision.original == (shop.inventory.vips[0], 80)

    assert len(answers) == 1
    assert answers <= {"inventory-a: item 42: 7 in stock", "inventory-b: item 42: 7 in stock"}
    first = ["CONNECT", "FRONTEND", "SERVICE", "WAYPOINT", "VERDICT", "TAIL_CALL"]
    again = [
        "CONNECT",
        "FRONTEND",
        "SERVICE",
        "ENDPOINT",
        "BACKEND",
        "DNAT",
        "VERDICT",
        "ESTABLISHED",
        "SOCKHASH",
        "TLV",
    ]
    assert kinds == first + again


@pytest.mark.parametrize(("target", "tlv"), [("10.96.0.10", TLV_V4), ("::ffff:10.96.0.10", TLV_MAPPED)])
def test_the_waypoint_reads_the_tlv_and_then_the_clients_bytes(shop, waypoint, target, tlv) -> None:
    with shop.shop.connect(target, 80) as c:
        c.send(b"GET /stock/42 HTTP/1.0\r\n\r\n")
        assert c.recv().startswith(b"HTTP/1.1 200 OK\r\n")

        assert bytes(waypoint.captured()) == tlv + b"GET /stock/42 HTTP/1.0\r\n\r\n"
        assert waypoint.captured().summary().endswith(" port 80 / KmeshTLVEnd / Raw")


def test_an_ipv6_service_has_an_ipv6_waypoint(shop) -> None:
    client = shop.lab.pod("shop6", shop.n1, family=6)
    server = shop.lab.pod("inventory6", shop.n2, listen=8080, family=6)
    service = km.Service("inventory6.shop", "fd00:10:96::10", {80: 8080})
    waypoint = shop.lab.waypoint("waypoint6", shop.n1, family=6)
    shop.lab.apply(service, [server], waypoint=waypoint)

    c = client.connect(service)
    assert c.get("/stock/42") == "inventory6: item 42: 7 in stock"

    assert bytes(waypoint.captured())[:28] == TLV_V6
    assert repr(waypoint) == "<Waypoint waypoint6 [fd00:10:96:ff::1]:15008 → fd00:10:244:1::2 on n1>"


def test_captured_waits_for_the_last_connection_and_counts_from_the_first(shop, waypoint) -> None:
    held = [shop.shop.connect(shop.inventory) for _ in range(5)]
    for number, c in enumerate(held):
        c.send(b"request %d" % number)
        assert bytes(waypoint.captured()) == TLV_V4 + b"request %d" % number

    assert bytes(waypoint.captured(0)) == TLV_V4 + b"request 0"
    assert bytes(waypoint.captured(-2)) == TLV_V4 + b"request 3"
    with pytest.raises(km.LabError, match=r"^waypoint 'waypoint' has read 5 connections; send something"):
        waypoint.captured(5)
    with pytest.raises(ValueError, match=r"^connection 'x': expected its number, or -1 for the last$"):
        waypoint.captured("x")


def test_captured_says_so_when_nothing_has_come(shop, waypoint) -> None:
    with pytest.raises(km.LabError, match=r"^waypoint 'waypoint' has read 0 connections; send something through"):
        waypoint.captured()


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b"", r"the client closed after 0 bytes, before a TLV; what came: none"),
        (b"hello", r"no TLV: the first byte is 0x68, expected 0x01; what came: 68 65 6c 6c 6f"),
        (b"\1\0\0\0\x12\n", r"the client closed after 6 bytes, before a TLV; what came: 01 00 00 00 12 0a"),
        (TLV_V4[:9], r"the client closed after 9 bytes, before a TLV; what came: 01 00 00 00 06 0a 60 00 0a"),
    ],
)
def test_captured_invents_no_tlv_for_a_connection_that_had_none(shop, waypoint, sent, problem) -> None:
    stranger = shop.lab.pod("stranger", shop.n1, enrolled=False)
    with stranger.connect(waypoint.address, 15019) as c:
        c.send(sent)

    with pytest.raises(km.LabError, match=f"^waypoint 'waypoint' read no TLV: {problem}; send something through it"):
        waypoint.captured()


def test_captured_shows_what_is_wrong_with_a_tlv(shop, waypoint) -> None:
    stranger = shop.lab.pod("stranger", shop.n1, enrolled=False)
    broken = TLV_V4[:-5] + b"HELLO"
    with stranger.connect(waypoint.address, 15019) as c:
        c.send(broken)

    assert bytes(waypoint.captured()) == broken
    assert waypoint.captured().port == 80


def test_the_waypoint_is_taken_away_again_without_a_connection_that_fails(shop, waypoint) -> None:
    behind = shop.shop.connect(shop.inventory)
    assert behind.backend is waypoint

    shop.lab.apply(shop.inventory, endpoints=[shop.near, shop.far])

    assert shop.shop.connect_many(shop.inventory, count=20) == {"inventory-a": 20}
    assert re.fullmatch("inventory-[ab]: item 1: 7 in stock", behind.get("/stock/1"))
    assert shop.n1.maps.service[shop.inventory].waypoint is None


def test_no_request_is_lost_while_a_waypoint_comes_and_goes(shop) -> None:
    waypoint = shop.lab.waypoint("waypoint", node=shop.n1)
    enough = threading.Event()

    def ask() -> list[tuple[bool, str]]:
        answers = []
        while not enough.is_set():
            with shop.shop.connect(shop.inventory) as c:
                answers.append((c.backend is waypoint, c.get("/stock/42").partition(": ")[2]))
        return answers

    with ThreadPoolExecutor() as threads:
        asking = threads.submit(ask)
        for turn in range(40):
            shop.lab.apply(shop.inventory, [shop.near, shop.far], waypoint=None if turn % 2 else waypoint)
            time.sleep(0.01)
        enough.set()

    assert set(asking.result()) == {(True, "item 42: 7 in stock"), (False, "item 42: 7 in stock")}


def test_deleting_a_waypoint_takes_it_out_of_its_services_first(shop, waypoint) -> None:
    before = {"inventory.shop": shop.inventory}
    assert set(shop.lab.services) == {"inventory.shop", "waypoint.default"}

    shop.lab.delete(waypoint)
    shop.lab.delete(waypoint)

    assert shop.lab.services == before
    assert shop.shop.connect_many(shop.inventory, count=20) == {"inventory-a": 20}


def test_the_vip_of_a_deleted_waypoint_is_free_again(shop) -> None:
    lab, node = shop.lab, shop.n1
    first, second = lab.waypoint("waypoint-1", node), lab.waypoint("waypoint-2", node)
    lab.delete(first)

    third = lab.waypoint("waypoint-3", node)

    vips = [str(each.service.vips[0]) for each in (first, second, third)]
    assert vips == ["10.96.255.1", "10.96.255.2", "10.96.255.1"]


def test_the_waypoint_learns_new_endpoints_and_new_services(shop, waypoint) -> None:
    shop.lab.delete(shop.near)
    second = km.Service("second.shop", "10.96.0.11", {80: 8080})
    shop.lab.apply(second, [shop.far], waypoint=waypoint)

    for service in (shop.inventory, second):
        assert shop.shop.connect(service).get("/stock/42") == "inventory-b: item 42: 7 in stock"


def test_the_service_of_a_waypoint_belongs_to_the_waypoint(shop, waypoint, refused) -> None:
    message = "service 'waypoint.default' is that of waypoint 'waypoint'; delete the waypoint instead"

    with refused(km.LabError, message):
        shop.lab.delete(waypoint.service)
    with refused(km.LabError, message):
        shop.lab.apply(km.Service("waypoint", "10.96.0.12", [80]), [shop.near])


def test_a_waypoint_that_was_killed_is_refused_and_others_go_on(shop, waypoint, refused) -> None:
    kill(waypoint)

    with pytest.raises(
        km.PodGone, match=r"^the process of waypoint 'waypoint' has ended; delete it and make it again$"
    ):
        shop.lab.apply(shop.inventory, [shop.near], waypoint=waypoint)
    shop.lab.apply(km.Service("second.shop", "10.96.0.11", {80: 8080}), [shop.far])
    assert shop.shop.connect("second.shop").backend is shop.far
    with pytest.raises(ConnectionRefusedError):
        shop.shop.connect(shop.inventory)
    shop.lab.delete(waypoint)
    assert shop.shop.connect(shop.inventory).backend is shop.near
    again = shop.lab.waypoint("waypoint", shop.n2)
    shop.lab.apply(shop.inventory, [shop.near], waypoint=again)
    assert shop.shop.connect(shop.inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"

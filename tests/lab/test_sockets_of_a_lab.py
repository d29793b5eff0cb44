"""What single sockets have in the maps, and a socket that is used a second time, with Kmesh's stickiness."""

from __future__ import annotations

import ipaddress
import socket

import pytest

import kmesh_lab as km
from kmesh_lab.datapath.sockets import SocketKey

pytestmark = pytest.mark.root

# 10.96.0.10 port 80
TLV = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")


@pytest.fixture(scope="module")
def behind(open_all_day):
    """inventory.shop and orders.shop behind one waypoint; plain.shop without."""
    lab = open_all_day.lab
    waypoint = lab.waypoint("waypoint", node=open_all_day.n2)
    orders = km.Service("orders.shop", "10.96.0.20", {80: 8080})
    plain = km.Service("plain.shop", "10.96.0.30", {80: 8080})
    lab.apply(open_all_day.inventory, [open_all_day.near], waypoint=waypoint)
    lab.apply(orders, [lab.pod("orders-a", open_all_day.n1, listen=8080)], waypoint=waypoint)
    lab.apply(plain, [lab.pod("plain-a", open_all_day.n1, listen=8080)])
    return waypoint


def test_a_socket_to_a_waypoint_is_in_km_socket_by_its_two_ends_until_it_is_closed(open_all_day, behind) -> None:
    maps = open_all_day.n1.maps
    with open_all_day.shop.connect("inventory.shop") as c:
        port = c.socket.getsockname()[1]
        key = SocketKey((open_all_day.shop.address, port), (behind.address, 15019))
        assert list(maps.socket) == [key]
        assert c in maps.socket
        assert key in maps.socket
        assert maps.socket.raw(c) == (
            open_all_day.shop.address.packed
            + behind.address.packed
            + port.to_bytes(2)
            + bytes.fromhex("3aab")
            + bytes(24)
        )
        assert repr(maps.socket) == "<km_socket: 1 of at most 8,192 sockets>"
        assert f">10.244.1.1:{port}</td>" in maps.socket._repr_html_()
        assert "<code>0a f4 01 01 0a f4 02 02 " in maps.socket._repr_html_()

    open_all_day.shop.process.request("netns_cookie")  # by now it has closed its own descriptor of the socket
    assert len(maps.socket) == 0


def test_a_mapped_socket_has_a_key_of_ipv6(open_all_day, behind) -> None:
    with open_all_day.shop.connect("::ffff:10.96.0.10", 80) as c:
        (key,) = open_all_day.n1.maps.socket
        assert key.remote == (ipaddress.ip_address(f"::ffff:{behind.address}"), 15019)
        assert open_all_day.n1.maps.sockstorage[c].original == (ipaddress.ip_address("::ffff:10.96.0.10"), 80)


def test_a_socket_that_goes_to_no_waypoint_is_not_in_km_socket(open_all_day, behind) -> None:
    maps = open_all_day.n1.maps
    with open_all_day.shop.connect("plain.shop") as c:
        assert c not in maps.socket
        with pytest.raises(KeyError, match="km_socket has no socket"):
            maps.socket.raw(c)
        assert not maps.sockstorage[c].via_waypoint


def test_the_storage_says_what_is_still_to_be_told_and_then_that_it_was(open_all_day, behind) -> None:
    maps = open_all_day.n1.maps
    with open_all_day.shop.connect("inventory.shop") as c:
        before = maps.sockstorage[c]
        c.get("/stock/42")
        after = maps.sockstorage[c]

    assert repr(before) == ("<km_sockstorage: OUTBOUND, original 10.96.0.10:80, via_waypoint True, has_encoded False>")
    assert (after.has_encoded, after.original) == (True, before.original)


def test_a_socket_of_a_pod_outside_the_mesh_has_no_storage(open_all_day) -> None:
    stranger = open_all_day.lab.pod("stranger", open_all_day.n1, enrolled=False)
    with stranger.connect(open_all_day.near) as c:
        assert c not in open_all_day.n1.maps.sockstorage
        with pytest.raises(KeyError, match="km_sockstorage has no row"):
            open_all_day.n1.maps.sockstorage[c]


def test_what_is_no_socket_is_refused(open_all_day) -> None:
    with pytest.raises(ValueError, match="'shop' is neither a connection nor a socket"):
        open_all_day.n1.maps.sockstorage["shop"]


def test_a_socket_used_again_tells_the_waypoint_the_first_destination(open_all_day, behind) -> None:
    first = open_all_day.shop.connect("inventory.shop")
    second = open_all_day.shop.reconnect(first, "orders.shop")

    assert (second.backend, second.cookie) == (behind, first.cookie)
    assert repr(second) == "<Connection shop → waypoint 10.244.2.2:15019 (asked for 10.96.0.20:80)>"
    assert second.get("/stock/42") == "inventory-a: item 42: 7 in stock"
    second.close()
    assert first.closed


def test_a_socket_used_again_without_a_waypoint_puts_the_tlv_before_a_request_that_nobody_expects(
    open_all_day, behind
) -> None:
    c = open_all_day.shop.connect("inventory.shop")
    with open_all_day.shop.reconnect(c, "plain.shop") as again:
        again.send(b"hello")
        assert again.recv() == b"plain-a: " + TLV + b"hello"


def test_a_socket_that_has_told_the_waypoint_tells_it_nothing_when_used_again(open_all_day, behind) -> None:
    c = open_all_day.shop.connect("inventory.shop")
    c.get("/stock/42")
    with open_all_day.shop.reconnect(c, "inventory.shop") as again:
        again.send(b"hello")
        assert again.recv() == b""


def test_reconnect_times_out_as_connect_does(open_all_day) -> None:
    shop, far = open_all_day.shop, open_all_day.far
    listener = far.process.request("socket", family=socket.AF_INET, type=socket.SOCK_STREAM).socket()
    with listener, shop.connect(open_all_day.near) as c:
        listener.bind(("", 9999))
        listener.listen(0)
        shop.connect(far, 9999)  # the queue is full: the next SYN is dropped
        c.socket.settimeout(0.3)
        words = r"^\[Errno 110\] pod 'shop' could not connect to 10\.244\.2\.1:9999: ETIMEDOUT, Connection timed out"
        with pytest.raises(TimeoutError, match=words):
            shop.connect(far, 9999, timeout=0.3)
        with pytest.raises(TimeoutError, match=words):
            shop.reconnect(c, far, 9999)


def test_reconnect_says_what_cannot_be(open_all_day) -> None:
    shop = open_all_day.shop
    c = shop.connect(open_all_day.near)
    with pytest.raises(ValueError, match=r"^\[fd00::1\]:80 is no address for a socket of AF_INET$"):
        shop.reconnect(c, "fd00::1", 80)
    with pytest.raises(km.LabError, match="is not an open connection of pod 'inventory-a'; connect one"):
        open_all_day.near.reconnect(c, open_all_day.far)
    with pytest.raises(ConnectionRefusedError, match=r"pod 'shop' could not connect to 10\.244\.2\.1:81: ECONNREFUSED"):
        shop.reconnect(c, open_all_day.far, 81)
    with shop.reconnect(c, open_all_day.far) as again:
        assert again.socket.gettimeout() == 5
        assert again.socket.type == socket.SOCK_STREAM
        assert again.get("/stock/42") == "inventory-b: item 42: 7 in stock"
    with pytest.raises(km.LabError, match="is not an open connection"):
        shop.reconnect(c, open_all_day.far)

"""A listener in the place of a waypoint: real bytes for a notebook to read, and everything as before afterwards."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

import kmesh_lab as km
from kmesh_lab.exercises import Listener, listener
from kmesh_lab.exercises.bench import Shop, open_shop

pytestmark = pytest.mark.root

TLV = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")
REQUEST = b"GET /stock/42"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with open_shop() as it:
        yield it


def test_what_has_come_is_read_at_once_and_what_is_acknowledged_late_comes_in_two_pieces(shop: Shop) -> None:
    with Listener(shop.lab, shop.n1, shop.inventory) as listener, listener.pod.capture(15019) as wire:
        assert listener.receive(shop.shop, REQUEST) == [TLV + REQUEST]
        assert listener.receive(shop.shop, REQUEST, delayed_ack=True) == [TLV, REQUEST]

    assert wire.payloads == [TLV, REQUEST] * 2


def test_it_meets_clients_of_the_service_and_clients_that_ask_for_itself(shop: Shop) -> None:
    with Listener(shop.lab, shop.n1, shop.inventory) as listener:
        for target, expected in ((None, TLV + b"hello"), (listener.pod.address, b"hello")):
            connection, sock = listener.meet(shop.shop, target)
            with connection, sock:
                connection.send(b"hello")
                assert sock.recv(len(expected), socket.MSG_WAITALL) == expected


def test_afterwards_the_service_is_as_it_was_and_the_pod_is_gone(shop: Shop) -> None:
    row = shop.n1.maps.service[shop.inventory]
    with Listener(shop.lab, shop.n1, shop.inventory) as listener:
        assert shop.n1.maps.service[shop.inventory].waypoint == (listener.pod.address, 15019)
        assert repr(listener) == "<Listener 10.244.1.3:15019 in the place of a waypoint of inventory.shop>"

    listener.close()
    assert shop.n1.maps.service[shop.inventory] == row
    assert "listener" not in shop.lab.pods
    assert shop.shop.connect(shop.inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"


def test_a_listener_that_fails_leaves_no_pod(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "no memory")

    before = dict(shop.lab.pods)
    with pytest.raises(km.LabError, match="is not published on this node"):
        Listener(shop.lab, shop.n1, km.Service("orders.shop", "10.96.0.11", [80]))
    monkeypatch.setattr(listener, "replace", no_memory)
    with pytest.raises(OSError, match="no memory"):
        Listener(shop.lab, shop.n1, shop.inventory)

    assert shop.lab.pods == before


def test_the_pod_goes_also_when_the_service_is_gone_that_would_get_its_row_back(shop: Shop) -> None:
    with pytest.raises(km.LabError, match="is not published on this node"), Listener(shop.lab, shop.n1, shop.inventory):
        shop.lab.delete(shop.inventory)

    shop.publish()
    assert "listener" not in shop.lab.pods

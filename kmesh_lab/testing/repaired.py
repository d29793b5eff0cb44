"""The tests of `worthless`, repaired: each fails when the program it speaks of is wrong."""

from __future__ import annotations

from typing import Any

from kmesh_lab.testing.objects import socket_key

__all__: list[str] = []


def test_the_socket_is_in_km_socket(shop: Any, inventory: Any, n1: Any) -> None:
    """A sockhash tells its keys, whatever it does to lookups."""
    with shop.connect(inventory) as connection:
        assert socket_key(connection.socket) in list(n1.datapath.maps["km_socket"].keys())


def test_a_pod_is_reached(shop: Any, near: Any) -> None:
    """The program has run and looked: its own report says so."""
    with shop.connect(near) as connection:
        assert connection.peer == (near.address, 8080)
        assert [step.kind for step in connection.decision.steps][:2] == ["CONNECT", "FRONTEND"]


def test_an_ipv6_client_reaches_the_service(shop: Any, near: Any, publish: Any) -> None:
    """An AF_INET6 socket: the address is IPv4 in its mapped form."""
    publish("RANDOM", near)
    with shop.connect("::ffff:10.96.0.10", 80) as connection:
        assert connection.backend is near


def test_strict_uses_the_endpoint_that_is_near(shop: Any, near: Any, far: Any, publish: Any) -> None:
    """The policy by its name, and a case in which the others would do something else."""
    assert shop.connect_many(publish("STRICT", near, far), count=5) == {"near": 5}
    assert shop.connect_many(publish("STRICT", far), count=2).refused

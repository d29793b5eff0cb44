"""A test that is good, and not enough."""

from __future__ import annotations

from typing import Any

__all__: list[str] = []


def test_the_waypoint_learns_the_address(shop: Any, inventory: Any, waypoint: Any) -> None:
    """Address and port, as Scapy reads them from what the waypoint received."""
    with shop.connect(inventory) as connection:
        connection.send(b"HELLO")
        tlv = waypoint.captured()
        assert (str(tlv.addr), tlv.port) == ("10.96.0.10", 80)

"""Four tests that prove nothing, each modelled on one of Kmesh's own suite (test/bpf_ut); `repaired` has their cures.

They pass on the real programs, and that is all they do.
"""

from __future__ import annotations

import errno
from typing import Any

from kmesh_lab.testing.objects import socket_key

__all__: list[str] = []


def test_the_socket_is_in_km_socket(shop: Any, inventory: Any, n1: Any) -> None:
    """A lookup that can never succeed: "no space left" is taken for a detail of the kernel."""
    with shop.connect(inventory) as connection:
        try:
            n1.datapath.maps["km_socket"].lookup(socket_key(connection.socket))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017


def test_a_pod_is_reached(shop: Any, near: Any) -> None:
    """Passes with no program attached: the address exists, so every connect arrives there."""
    with shop.connect(near) as connection:
        assert connection.peer == (near.address, 8080)


def test_an_ipv6_client_reaches_the_service(shop: Any, near: Any, publish: Any) -> None:
    """The wrong program: an AF_INET socket is decided about by connect4."""
    publish("RANDOM", near)
    with shop.connect("10.96.0.10", 80) as connection:
        assert connection.backend is near


def test_strict_uses_the_endpoint_that_is_near(shop: Any, near: Any, publish: Any) -> None:
    """Another branch: the policy value 0 is RANDOM, and STRICT is 1."""
    service = publish(0, near)
    assert shop.connect_many(service, count=5) == {"near": 5}

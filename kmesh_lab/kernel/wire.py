"""How the fabric and its pods are wired, by netlink: a bridge, one veth pair per pod, addresses and routes.

The functions work on netlink sockets that their caller has opened in the right namespace (`kmesh_lab.kernel.netns`).
What they make is usable when they return: no packet is lost to a link that is only just coming up.
"""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

__all__ = ["FABRIC_IPV4", "FABRIC_IPV6", "IPAddress", "delete_port", "make_bridge", "wait_until_found", "wire_pod"]

IPAddress = IPv4Address | IPv6Address
Wire = IPv4Interface | IPv6Interface

FABRIC_IPV4 = IPv4Interface("10.244.0.1/16")
FABRIC_IPV6 = IPv6Interface("fd00:10:244::1/48")

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_THIS_NETWORK = {4: "0.0.0.0/8", 6: "::/96"}
_LOCAL = {"type": "local", "table": 255, "scope": 254}
_NO_LINK_LOCAL = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]}
_NODAD = 0x02
_LOOPBACK = 1


def make_bridge(ip: IPRoute) -> bool:
    """Build the fabric's side; return whether it has IPv6."""
    ip.link("add", ifname="br0", kind="bridge", address=_mac(FABRIC_IPV4.ip), br_mcast_snooping=0)
    bridge = _index(ip, "br0")
    _no_link_local(ip, bridge)
    ip.link("set", index=_LOOPBACK, state="up")
    ip.link("set", index=bridge, state="up")
    _give_address(ip, bridge, FABRIC_IPV4)
    try:
        _give_address(ip, bridge, FABRIC_IPV6)
    except NetlinkError:
        return False
    return True


def _give_address(ip: IPRoute, bridge: int, wire: Wire) -> None:
    family = _FAMILY[wire.version]
    _add_address(ip, bridge, wire.ip, wire)
    ip.route("add", family=family, dst="default", type="unreachable")
    # A connect to "this network" is answered with a reset, see wire_pod.
    ip.route("add", family=family, dst=_THIS_NETWORK[wire.version], oif=_LOOPBACK, **_LOCAL)


def wire_pod(
    inside: IPRoute, outside: IPRoute, netns: int, port: str, alias: str, address: IPAddress, default_route: bool
) -> None:
    """Connect the namespace ``netns``, in which the socket ``inside`` is, to the bridge of ``outside``."""
    wire = FABRIC_IPV4 if address.version == 4 else FABRIC_IPV6
    family = _FAMILY[wire.version]
    pair = {"ifname": "eth0", "net_ns_fd": netns, "address": _mac(address)}
    outside.link("add", ifname=port, kind="veth", peer=pair)
    peer, eth0 = _index(outside, port), _index(inside, "eth0")
    _no_link_local(outside, peer)
    _no_link_local(inside, eth0)
    outside.link("set", index=peer, master=_index(outside, "br0"), ifalias=alias, state="up")
    _add_address(inside, eth0, address, wire)
    inside.link("set", index=_LOOPBACK, state="up")
    inside.link("set", index=eth0, state="up")
    # Nobody has an address of "this network" (0.0.0.2, ::2). But a program may give a connect to it a meaning, and the
    # kernel gets as far as the SYN only if there is a route.
    inside.route("add", family=family, dst=_THIS_NETWORK[wire.version], gateway=str(wire.ip))
    # Refused here and not by an ICMP error of the fabric: that finds the connecting socket locked by its own
    # connect(2) and is forgotten, so that a blocking connect waits for the second SYN, one second.
    way = {"gateway": str(wire.ip)} if default_route else {"type": "unreachable"}
    inside.route("replace", family=family, dst="default", **way)  # of an earlier eth0, "unreachable" has stayed
    # The kernel's link watch runs a moment after "up"; until then, packets are dropped without a word.
    _wait_until(lambda: _is_up(inside, eth0) and _is_up(outside, peer), "the link")


def wait_until_found(address: IPv6Address) -> None:
    """Wait until the namespace of the calling thread answers neighbours who ask for this address of its eth0."""
    group = f"ff0200000000000000000001ff{address.packed[-3:].hex()}"  # the solicited-node multicast group
    _wait_until(lambda: group in Path("/proc/thread-self/net/igmp6").read_text(), f"neighbour discovery for {address}")


def delete_port(ip: IPRoute, port: str) -> None:
    """Delete a port of the bridge and with it the pod's eth0; without effect if it went with the pod's namespace."""
    for index in ip.link_lookup(ifname=port):
        with suppress(NetlinkError):
            ip.link("del", index=index)


def _wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 5
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come up within 5 s")
        time.sleep(0.0002)


def _is_up(ip: IPRoute, index: int) -> bool:
    return bool(ip.get_links(index)[0].get("operstate") == "UP")


def _index(ip: IPRoute, name: str) -> int:
    index: int = ip.link_lookup(ifname=name)[0]
    return index


def _add_address(ip: IPRoute, index: int, address: IPAddress, wire: Wire) -> None:
    flags = _NODAD if address.version == 6 else 0  # usable at once, not after a second of asking who else has it
    ip.addr("add", index=index, address=str(address), prefixlen=wire.network.prefixlen, flags=flags)


def _no_link_local(ip: IPRoute, index: int) -> None:
    """Without fe80:: an interface is silent when it comes up: no solicitations in a capture, nothing to wait for."""
    with suppress(NetlinkError):  # no IPv6 at all
        ip.link("set", index=index, IFLA_AF_SPEC=_NO_LINK_LOCAL)


def _mac(address: IPAddress) -> str:
    """Return the MAC that always goes with an address, so that a pod that is made again needs no new ARP entry."""
    tail = address.packed if address.version == 4 else zlib.crc32(address.packed).to_bytes(4)
    return (b"\x0a\x58" + tail).hex(":")

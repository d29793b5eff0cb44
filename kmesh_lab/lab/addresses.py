"""The address plan: who gets which address; and what a label, a port or a choice may be.

Pod *j* of node *i*: ``10.244.i.j`` or ``fd00:10:244:i::j``. The VIP of waypoint *w*: ``10.96.255.w`` or
``fd00:10:96:ff::w``. Services say their own VIPs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container
from ipaddress import IPv4Address, IPv6Address

from kmesh_lab.display import choices
from kmesh_lab.errors import LabError
from kmesh_lab.mesh import LABEL, IPAddress

__all__ = ["check_choice", "check_label", "check_port", "next_node", "pod_address", "waypoint_vip"]

_NODES, _PER_NODE = 255, 254


def next_node(name: str, taken: Collection[int]) -> int:
    """The number of a new node."""
    number = 1 + max(taken, default=0)
    if number > _NODES:
        raise LabError(f"node {name!r} would be number {number}: the address plan 10.244.i.j ends at {_NODES}")
    return number


def pod_address(node: int, family: int, taken: Container[IPAddress]) -> IPAddress:
    """The first free address of node number ``node``."""
    for number in range(1, _PER_NODE + 1):
        address = _address(family, f"10.244.{node}.{number}", f"fd00:10:244:{node:x}::{number:x}")
        if address not in taken:
            return address
    raise LabError(f"node number {node} has no IPv{family} address left: it holds {_PER_NODE} pods; make another node")


def waypoint_vip(family: int, taken: Container[IPAddress]) -> IPAddress:
    """The first free VIP for a waypoint."""
    for number in range(1, _PER_NODE + 1):
        address = _address(family, f"10.96.255.{number}", f"fd00:10:96:ff::{number:x}")
        if address not in taken:
            return address
    raise LabError(f"no IPv{family} VIP is left for a waypoint: there are {_PER_NODE}; delete one first")


def _address(family: int, ipv4: str, ipv6: str) -> IPAddress:
    return IPv4Address(ipv4) if family == 4 else IPv6Address(ipv6)


def check_label(what: str, name: str) -> None:
    """Raise ``ValueError`` unless Kubernetes would take the name."""
    if not isinstance(name, str) or not re.fullmatch(LABEL, name):
        raise ValueError(f"{what} {name!r}: expected a-z, 0-9 and inner '-', at most 63 characters, as in Kubernetes")


def check_port(port: object) -> int:
    """Return a port as it is, or raise ``ValueError``."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"port {port!r} is out of range: expected an int from 1 to 65535")
    return port


def check_flag(what: str, value: object) -> None:
    """Raise ``ValueError`` unless the value is True or False: "no" and None would each be taken for one of them."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} {value!r}: expected True or False")


def check_choice(what: str, value: object, expected: Collection[object]) -> None:
    """Raise ``ValueError`` unless the value is one of those expected, also by its type: 4.0 is no 4."""
    if (type(value), value) not in [(type(each), each) for each in expected]:
        raise ValueError(f"unknown {what} {value!r}: expected {choices(map(str, expected))}")

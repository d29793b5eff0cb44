"""What Kmesh can store and find again: the rules that a service's name, addresses and ports must keep.

Each check returns the value in its one stored form, or raises a ``ValueError`` that names the thing and the way out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from types import MappingProxyType

__all__ = [
    "LABEL",
    "MAX_PORTS",
    "IPAddress",
    "check_destination",
    "check_ports",
    "check_service_name",
    "check_vips",
    "is_uid_part",
]

IPAddress = IPv4Address | IPv6Address

MAX_PORTS = 10
"""A km_service record has ten port slots (bpf/kmesh/workload/include/workload.h)."""

LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"  # RFC 1123: a name in Kubernetes
_CONTROL = 2  # 0.0.0.2 and ::2, as in bpf/include/manage.h
_SURROGATE = re.compile("[\ud800-\udfff]")
_SERVICE_NAME = re.compile(rf"{LABEL}\.{LABEL}")


def check_service_name(name: str, namespace: str | None) -> str:
    """Return ``service.namespace``; a name without a dot is in ``namespace``, or in "default"."""
    service, dot, suffix = name.partition(".") if isinstance(name, str) else ("", "", "")
    if namespace is not None and not isinstance(namespace, str):
        raise ValueError(f"service {name!r}: namespace {namespace!r} is not a name")
    if dot and namespace is not None and namespace != suffix:
        raise ValueError(f"service {name!r} cannot be in namespace {namespace!r} too: give the namespace once")
    if not dot:
        suffix = "default" if namespace is None else namespace
    if not _SERVICE_NAME.fullmatch(f"{service}.{suffix}"):
        raise ValueError(
            f"service {name!r} in namespace {suffix!r} is not a service name: expected 'service' or "
            "'service.namespace', each of a-z, 0-9 and inner '-', at most 63 characters"
        )
    return f"{service}.{suffix}"


def is_uid_part(text: object) -> bool:
    """Whether a name, a namespace or a cluster can be told from the rest of a uid, whose parts ``/`` separates.

    A uid is hashed as UTF-8, which half of a surrogate pair has not.
    """
    return isinstance(text, str) and text != "" and "/" not in text and not _SURROGATE.search(text)


def check_destination(kind: str, name: str, value: object) -> IPAddress:
    """Return the address, if a connection can have it as its destination; ``kind`` and ``name`` say whose it is."""
    address = value
    if isinstance(value, str):
        with suppress(ValueError):  # reported below, with the thing it is the address of
            address = ip_address(value)
    if not isinstance(address, (IPv4Address, IPv6Address)) or isinstance(address, (IPv4Interface, IPv6Interface)):
        raise ValueError(f"{kind} {name!r}: {value!r} is not an IPv4 or IPv6 address")
    if address.version == 6 and address.ipv4_mapped:
        plain = address.ipv4_mapped
        raise ValueError(
            f"{kind} {name!r}: address {value} is IPv4-mapped, and the datapath looks those up as IPv4: use {plain}"
        )
    if address.version == 6 and address.scope_id:
        raise ValueError(f"{kind} {name!r}: address {address} has a zone index, which no map can hold: leave it out")
    if address.is_unspecified or address.is_multicast:
        what = "unspecified" if address.is_unspecified else "a multicast address"
        raise ValueError(f"{kind} {name!r}: address {address} is {what}, not the address of one destination")
    return address


def check_vips(name: str, vip: object) -> tuple[IPAddress, ...]:
    """Return one or several addresses of one family, in the order given."""
    given: Sequence[object] = vip if isinstance(vip, Sequence) and not isinstance(vip, (str, bytes)) else (vip,)
    vips = tuple(check_destination("service", name, one) for one in given)
    if not vips:
        raise ValueError(f"service {name!r} has no VIP: give at least one, such as vip='10.96.0.10'")
    for position, address in enumerate(vips):
        if int(address) == _CONTROL:
            raise ValueError(f"service {name!r}: VIP {address} is Kmesh's own, by which pods are enrolled: use another")
        if address.is_loopback:
            raise ValueError(f"service {name!r}: VIP {address} is loopback, which never leaves the pod")
        if address in vips[:position]:
            raise ValueError(f"service {name!r} has VIP {address} twice")
    if len({address.version for address in vips}) > 1:
        raise ValueError(
            f"service {name!r} mixes IPv4 and IPv6 VIPs: Kmesh keeps one address per backend record, so clients of the "
            "IPv6 VIP would be sent to the four bytes of an IPv4 address; make one service per family"
        )
    return vips


def check_ports(name: str, ports: object) -> Mapping[int, int]:
    """Return one to ten pairs of service port and target port, in the order given, which is that of the slots."""
    if isinstance(ports, Mapping):
        pairs = list(ports.items())
    elif isinstance(ports, Sequence) and not isinstance(ports, (str, bytes)):
        pairs = [(port, port) for port in ports]
    else:
        raise ValueError(f"service {name!r}: ports {ports!r} is neither a dict such as {{80: 8080}} nor a list")
    for port in (port for pair in pairs for port in pair):
        # True is an int, and a dict would take it for port 1.
        if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
            raise ValueError(f"service {name!r}: {port!r} is not a port: expected an int from 1 to 65535")
    if not pairs:
        raise ValueError(f"service {name!r} has no port: give at least one, such as ports={{80: 8080}}")
    if len(pairs) > MAX_PORTS:
        raise ValueError(
            f"service {name!r} has {len(pairs)} ports: Kmesh keeps {MAX_PORTS} and drops the rest; make two services"
        )
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"service {name!r} lists a port twice: {[port for port, _ in pairs]}")
    return MappingProxyType(dict(pairs))

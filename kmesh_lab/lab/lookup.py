"""Finding what is meant: by a name, or by an address."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from kmesh_lab.datapath.rows import Address
from kmesh_lab.errors import LabError
from kmesh_lab.lab.pod import Pod
from kmesh_lab.mesh import IPAddress, Service

__all__ = ["find", "find_address"]


def find(name: str, pods: Mapping[str, Pod], services: Mapping[str, Service]) -> Service | Pod | IPAddress:
    """The pod, else the service with this name, else the address that the text is; LabError for anything else."""
    if name in pods:
        return pods[name]
    for full_name in (name, f"{name}.default"):
        if full_name in services:
            return services[full_name]
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        known = ", ".join([*pods, *services]) or "nothing yet"
        raise LabError(f"no pod or service {name!r} in this lab, and no address either; there is {known}") from None


def find_address(address: Address, pods: Mapping[str, Pod]) -> Pod | None:
    """The pod that has this address, if any; an IPv4-mapped address counts as IPv4."""
    ip = address[0]
    ip = (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
    return next((pod for pod in list(pods.values()) if pod.address == ip), None)

"""What is meant by a name or an address, and what may be called how."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import Address
from kmesh_lab.errors import LabError
from kmesh_lab.lab.addresses import check_choice, check_label, pod_address
from kmesh_lab.lab.node import Node
from kmesh_lab.lab.pod import Pod
from kmesh_lab.mesh import IPAddress, Service, Workload

__all__ = ["called_by", "check_new", "find", "find_address", "find_node", "new_workload"]


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


def find_node(node: Node | str, nodes: Mapping[str, Node]) -> Node:
    """The node that is meant; `LabError` if this lab has none such, ``ValueError`` if it is neither node nor name."""
    if not isinstance(node, (Node, str)):
        raise ValueError(f"node {node!r}: expected what lab.node() returned, or its name")
    name = node if isinstance(node, str) else node.name
    found = nodes.get(name)
    if found is None:
        raise LabError(f"no node {name!r} in this lab; there is {', '.join(nodes) or 'none yet'}")
    if node not in (name, found):
        raise LabError(f"node {name!r} belongs to another lab")
    return found


def check_new(kind: str, name: str, nodes: Mapping[str, Node], pods: Mapping[str, Pod]) -> None:
    """Refuse a name that is none, or that a node (or a pod) has already."""
    check_label(f"{kind} name", name)
    if name in (nodes if kind == "node" else pods):
        if kind == "node":
            raise LabError(f"node {name!r} already exists and stays as long as its lab; choose another name")
        where = pods[name].node.name
        raise LabError(f"{kind} {name!r} already exists on node {where}; delete it first or choose another name")


def new_workload(
    kind: str,
    name: str,
    node: Node,
    pods: Mapping[str, Pod],
    publications: Sequence[Publication],
    family: int,
    namespace: str,
) -> Workload:
    """What the control plane will know about a new pod: its name, which must be free, a free address, its place."""
    check_new(kind, name, {}, pods)
    check_label("namespace", namespace)
    check_choice(f"family of {kind} {name!r}", family, (4, 6))
    taken = {pod.address for pod in pods.values()}
    for each in publications:
        taken.update(each.service.vips, (end.address for end in each.endpoints))
    address = pod_address(node.number, family, taken)
    place = node.place
    return Workload(name, address, node.name, place.locality, namespace, place.cluster, place.network)


def called_by(name: str, service: Service | None, listen: int | None, family: int) -> Address | None:
    """Where a pod that calls a service connects to: its first VIP and port; ``ValueError`` if it cannot."""
    if service is None:
        return None
    if not isinstance(service, Service):
        raise ValueError(f"pod {name!r} calls {service!r}: expected a Service")
    if listen is None:
        raise ValueError(f"pod {name!r} calls {service.name!r} for those who ask it: give it a port to listen on")
    if service.vips[0].version != family:
        raise ValueError(
            f"pod {name!r} has an IPv{family} address, service {service.name!r} that it calls an "
            f"IPv{service.vips[0].version} VIP: choose one family"
        )
    return service.vips[0], next(iter(service.ports))

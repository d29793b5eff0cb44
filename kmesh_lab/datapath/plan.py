"""A change to what a node publishes, prepared without touching a map.

A `Draft` lays its changes over what is published and collects the rows that would make them true. Nothing can go half
wrong here: a draft that raises is thrown away. What it costs depends on the change, not on how much is published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from kmesh_lab.datapath.rows import Address, Rows, ServiceRow, pack_ip
from kmesh_lab.errors import LabError
from kmesh_lab.mesh import IdTable, IPAddress, LoadBalancing, Place, Policy, Service, Workload, priority, stored_ports

__all__ = ["ORDER", "Draft", "Publication", "Published", "endpoint_priority"]

ORDER = ("km_backend", "km_endpoint", "km_service", "km_frontend")
"""The order in which maps are written: nobody points to a row before it is there."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Publication:
    """A service, the workloads behind it, and the address of its waypoint if it has one."""

    service: Service
    endpoints: tuple[Workload, ...]
    waypoint: Address | None = None


class Backend(NamedTuple):
    """A workload in km_backend. A pinned one is a pod, which stays when no service uses it."""

    workload: Workload
    services: tuple[int, ...] = ()
    pinned: bool = False
    waypoint: Address | None = None


@dataclass
class Published:
    """What a node has in its maps, by the keys that people know."""

    services: dict[str, Publication] = field(default_factory=dict)
    backends: dict[str, Backend] = field(default_factory=dict)
    vips: dict[bytes, str] = field(default_factory=dict)  # km_frontend key → service key
    pods: dict[bytes, str] = field(default_factory=dict)  # km_frontend key → uid of the pod that has this address


class _Layer(Generic[K, V]):
    """A dict with changes on top of it, which can still be thrown away."""

    def __init__(self, below: dict[K, V]) -> None:
        self._below = below
        self._changes: dict[K, V | None] = {}  # None: gone

    def get(self, key: K) -> V | None:
        return self._changes[key] if key in self._changes else self._below.get(key)

    def __setitem__(self, key: K, value: V) -> None:
        self._changes[key] = value

    def __contains__(self, key: K) -> bool:
        return (self._changes[key] if key in self._changes else self._below.get(key)) is not None

    def drop(self, key: K) -> None:
        self._changes[key] = None

    def dropped(self) -> list[K]:
        return [key for key, value in self._changes.items() if value is None]

    def merge(self) -> None:
        """Make the changes true."""
        for key, value in self._changes.items():
            if value is None:
                self._below.pop(key, None)
            else:
                self._below[key] = value


def endpoint_priority(service: Service, workload: Workload, place: Place | None) -> int:
    """The priority at which a node at ``place`` stores an endpoint.

    0 with RANDOM, and as long as the node does not know where it is (workload_processor.go); else by locality.
    """
    if service.load_balancing.policy is Policy.RANDOM or place is None:
        return 0
    return priority(service.load_balancing.routing_preference, place, workload.place)


class Draft:
    """Rows to write, frontends to delete before that, rows to delete when no program can see them any more."""

    def __init__(self, published: Published, rows: Rows, ids: IdTable, place: Place | None) -> None:
        self._services = _Layer(published.services)
        self._backends = _Layer(published.backends)
        self._vips = _Layer(published.vips)
        self._pods = _Layer(published.pods)
        self._rows, self._ids, self._place = rows, ids, place
        self._priorities: dict[LoadBalancing, dict[object, int]] = {}  # many workloads share a place
        self.writes: dict[str, dict[bytes, bytes]] = {name: {} for name in ORDER}
        self.first: set[bytes] = set()  # of km_frontend
        self.retire: dict[str, set[bytes]] = {name: set() for name in ORDER}
        self.new: set[str] = set()  # keys of services and uids of workloads that have got their ids here

    def merge(self) -> None:
        """Make the changes part of what is published."""
        for layer in (self._services, self._backends, self._vips, self._pods):
            layer.merge()

    def gone(self) -> list[str]:
        """Keys of services and uids of workloads whose ids can be given back."""
        return self._services.dropped() + self._backends.dropped()

    def publish(self, publications: Iterable[Publication]) -> None:
        """Put services in the place of whatever was published under their keys.

        First they all leave, then they all come: in one change, VIPs and workloads may go from any to any of them.
        """
        changes = [(new, self._services.get(new.service.key)) for new in publications]
        for new, old in changes:
            if old:
                self._leave_vips(old.service, new.service.vips)
                wanted = {workload.uid for workload in new.endpoints}
                gone = [workload for workload in old.endpoints if workload.uid not in wanted]
                self._leave(gone, self._id_of(new.service.key))
        for new, old in changes:
            self._publish(new, old)

    def _publish(self, new: Publication, old: Publication | None) -> None:
        service_id = self._id_of(new.service.key)
        self._services[new.service.key] = new
        self._claim_vips(new.service, service_id)
        uids = [self._join(workload, service_id) for workload in new.endpoints]

        keys, counts = self._endpoint_keys(new, service_id)
        healthy = [uid for uid, workload in zip(uids, new.endpoints, strict=True) if workload.healthy]
        self.writes["km_endpoint"].update(zip(keys, healthy, strict=True))
        if old:
            self.retire["km_endpoint"].update(set(self._endpoint_keys(old, service_id)[0]).difference(keys))
        ports = tuple(stored_ports(new.service).items())
        row = ServiceRow(counts, new.service.load_balancing.policy, ports, new.waypoint)
        self.writes["km_service"][self._rows.pack_id(service_id)] = self._rows.pack_service(row)

    def withdraw(self, service: Service) -> None:
        """Take a service away, if it is there: its frontends first, the rest when nobody can be on the way any more."""
        old = self._services.get(service.key)
        if old is None:
            return
        self._services.drop(service.key)
        service_id = self._id_of(service.key)
        self._leave_vips(old.service, ())
        self.retire["km_service"].add(self._rows.pack_id(service_id))
        self.retire["km_endpoint"].update(self._endpoint_keys(old, service_id)[0])
        self._leave(old.endpoints, service_id)

    def put_workload(self, workload: Workload, waypoint: Address | None) -> None:
        """A pod: its backend row, and a frontend row for its own address."""
        old = self._backends.get(workload.uid)
        self._pods[pack_ip(workload.address)] = workload.uid
        services = old.services if old else ()
        self._put(workload.uid, old, Backend(workload, services, pinned=True, waypoint=waypoint))

    def remove_workload(self, workload: Workload) -> None:
        """Take a pod away, if it is there, that no service uses any more."""
        old = self._backends.get(workload.uid)
        if old is None:
            return
        if old.services:
            names = ", ".join(filter(None, map(self._ids.name_of, old.services)))
            raise LabError(f"workload {workload.name!r} is still an endpoint of {names}; apply those without it first")
        self._drop(workload.uid, old)

    def _leave_vips(self, service: Service, but: Collection[IPAddress]) -> None:
        for key in (pack_ip(vip) for vip in service.vips if vip not in but):
            self._vips.drop(key)
            pod = self._pods.get(key)  # whose address was the VIP: the row is that of the pod again
            if pod:
                self.writes["km_frontend"][key] = self._rows.pack_id(self._id_of(pod))
            else:
                self.first.add(key)

    def _claim_vips(self, service: Service, service_id: int) -> None:
        for vip in service.vips:
            key = pack_ip(vip)
            owner = self._vips.get(key)
            if owner not in (None, service.key):
                raise LabError(f"service {service.name!r}: VIP {vip} belongs to {owner}; choose another address")
            self._vips[key] = service.key
            self.writes["km_frontend"][key] = self._rows.pack_id(service_id)

    def _endpoint_keys(self, publication: Publication, service_id: int) -> tuple[list[bytes], tuple[int, ...]]:
        """The keys of km_endpoint, one for each healthy endpoint, and the count per priority; indices count from 1."""
        service, pack_key = publication.service, self._rows.pack_endpoint_key
        known = self._priorities.setdefault(service.load_balancing, {})
        keys: list[bytes] = []
        counts = [0] * self._rows.priorities
        for workload in publication.endpoints:
            if not workload.healthy:
                continue
            where = (workload.locality, workload.node, workload.cluster, workload.network)
            prio = known.get(where)
            if prio is None:
                prio = known[where] = endpoint_priority(service, workload, self._place)
            counts[prio] += 1
            keys.append(pack_key(service_id, prio, counts[prio]))
        return keys, tuple(counts)

    def _join(self, workload: Workload, service_id: int) -> bytes:
        """Put a workload behind a service; returns its key in km_backend."""
        uid = workload.uid
        old = self._backends.get(uid)
        if old is None:
            return self._put(uid, None, Backend(workload, (service_id,)))
        services = old.services if service_id in old.services else (*old.services, service_id)
        if len(services) > self._rows.max_services:
            raise LabError(
                f"workload {workload.name!r} would be behind {len(services)} services: "
                f"Kmesh has room for {self._rows.max_services}; take it out of one first"
            )
        return self._put(uid, old, old._replace(workload=workload, services=services))

    def _leave(self, workloads: Iterable[Workload], service_id: int) -> None:
        for workload in workloads:
            uid = workload.uid
            old = self._backends.get(uid)
            if old is None:
                continue
            left = tuple(number for number in old.services if number != service_id)
            if left or old.pinned:
                self._put(uid, old, old._replace(services=left))
            else:
                self._drop(uid, old)

    def _put(self, uid: str, old: Backend | None, backend: Backend) -> bytes:
        key = self._rows.pack_id(self._id_of(uid))
        address = pack_ip(backend.workload.address)
        if old and old.workload.address != backend.workload.address:
            self._vacate(pack_ip(old.workload.address), key)
        self._backends[uid] = backend
        self.writes["km_backend"][key] = self._rows.pack_backend_fields(address, backend.services, backend.waypoint)
        if address not in self._vips:  # a service's VIP goes before the same address of a pod
            self.writes["km_frontend"][address] = key
        return key

    def _drop(self, uid: str, backend: Backend) -> None:
        self._backends.drop(uid)
        if backend.pinned:
            self._pods.drop(pack_ip(backend.workload.address))
        key = self._rows.pack_id(self._id_of(uid))
        self.writes["km_backend"].pop(key, None)  # of an earlier step of this draft
        self.retire["km_backend"].add(key)
        self._vacate(pack_ip(backend.workload.address), key)

    def _vacate(self, address: bytes, uid: bytes) -> None:
        """A workload does not have this address any more."""
        if self.writes["km_frontend"].get(address) == uid:  # of an earlier step of this draft
            del self.writes["km_frontend"][address]
        if address not in self._vips:
            self.first.add(address)

    def _id_of(self, key: str) -> int:
        if key not in self._ids:
            self.new.add(key)
        return self._ids.id_of(key)

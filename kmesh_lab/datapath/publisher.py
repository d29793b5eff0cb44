"""From services and workloads to rows of the km_* maps, while connections are being made.

A program reads frontend → service → endpoint → backend, one lookup after the other, and may be anywhere on that way
when a row changes. So a publication

1. deletes the frontends of addresses that are no longer there,
2. writes what nobody points to yet: backends, then endpoints,
3. replaces the service row: one step for the kernel, and the moment at which everything changes,
4. writes the frontends,
5. waits until no program can still hold the old service row (`wait_for_programs`), and only then
6. deletes the endpoints and backends that the new row no longer counts.

Kmesh goes endpoint by endpoint and does not wait, which leaves a moment in which a program counts an endpoint that is
gone (pkg/controller/workload/workload_processor.go; tests/datapath/test_hot_updates.py shows both).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kmesh_lab.datapath.plan import ORDER, Draft, Publication, Published, endpoint_priority
from kmesh_lab.datapath.rows import Address, Rows
from kmesh_lab.datapath.transaction import Transaction
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.grace import wait_for_programs
from kmesh_lab.kernel.maps import Map
from kmesh_lab.mesh import IdTable, Place, Service, Workload

__all__ = ["Applied", "Publication", "Publisher"]

_OWNER = {"km_endpoint": 4}  # so many bytes of the key name the service


@dataclass(frozen=True)
class Applied:
    """A publication that is in the maps and can still be taken back: exactly one of the two ends it."""

    commit: Callable[[], None]
    undo: Callable[[], None]


class Publisher:
    """The control plane of one node: what the Kmesh daemon does with what istiod sends.

    ``place`` is where the node is, or None as long as it does not know.
    """

    def __init__(self, maps: Mapping[str, Map], rows: Rows, place: Place | None) -> None:
        self._maps, self._rows, self.place = maps, rows, place
        self.ids = IdTable()
        self._published = Published()
        self._finishing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def publication(self, service: Service) -> Publication | None:
        """What was last published under the service's key."""
        return self._published.services.get(service.key)

    def publications(self) -> list[Publication]:
        """All services, in the order they were first published."""
        return list(self._published.services.values())

    def workload(self, uid: int) -> Workload | None:
        """The workload behind a backend_uid."""
        name = self.ids.name_of(uid)
        backend = self._published.backends.get(name) if name else None
        return backend.workload if backend else None

    def name_of(self, number: int) -> str | None:
        """The short name of a service or workload: ``inventory.shop``, ``inventory-a``."""
        key = self.ids.name_of(number)
        if key in self._published.services:
            return self._published.services[key].service.name
        return key.rpartition("/")[2].removesuffix(".svc.cluster.local") if key else None

    def key_named(self, name: str) -> str:
        """The key of the service, or the uid of the workload, that has this short name; LabError if there is none."""
        for key in (*self._published.services, *self._published.backends):
            if self.name_of(self.ids.id_of(key)) == name:
                return key
        raise LabError(f"nothing on this node is called {name!r}")

    def priority_of(self, service: Service, workload: Workload) -> int:
        """The priority at which this node stores an endpoint."""
        return endpoint_priority(service, workload, self.place)

    def apply(self, publications: Sequence[Publication]) -> Applied:
        """Publish services; those that exist are replaced.

        Raises `kmesh_lab.errors.LabError` (a VIP of another service, more than ten services of one workload) and
        `kmesh_lab.errors.MapFull`; then the maps are as before.
        """
        return self._change(lambda draft: draft.publish(publications))

    def delete(self, service: Service) -> Applied:
        """Take a service away; one that is not published is left alone."""
        return self._change(lambda draft: draft.withdraw(service))

    def put_workload(self, workload: Workload, waypoint: Address | None = None) -> Applied:
        """Publish a pod, so that it is known by its own address."""
        return self._change(lambda draft: draft.put_workload(workload, waypoint))

    def remove_workload(self, workload: Workload) -> Applied:
        """Take a pod away that is an endpoint of no service any more; one that is gone already is left alone."""
        return self._change(lambda draft: draft.remove_workload(workload))

    def settle(self) -> None:
        """Wait until the last publication has deleted what it replaced."""
        finishing = self._finishing  # another thread may be settling too
        if finishing:
            finishing.join()
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def forget(self) -> None:
        """Have nothing to settle: in a forked child the thread that finishes does not exist."""
        self._finishing = self._failure = None

    def _change(self, prepare: Callable[[Draft], None]) -> Applied:
        self.settle()
        draft = Draft(self._published, self._rows, self.ids, self.place)
        transaction = Transaction()
        size = len(self._published.backends)  # the maps with most rows have about as many

        def undo() -> None:
            transaction.undo()
            for key in draft.new:
                self.ids.release(key)

        try:
            prepare(draft)
            transaction.delete(self._maps["km_frontend"], draft.first - draft.writes["km_frontend"].keys())
            for name in ORDER:
                transaction.write(self._maps[name], draft.writes[name], size, _OWNER.get(name))
        except BaseException:
            undo()
            raise
        return Applied(lambda: self._finish(draft, transaction), undo)

    def _finish(self, draft: Draft, transaction: Transaction) -> None:
        """Note what is published now, and delete what is no longer counted a grace period from now, beside the caller.

        Also when there is nothing to delete but rows were replaced: the kernel may use the memory of a replaced row
        again at once (`Transaction`), so two publications must be a grace period apart.
        """
        draft.merge()
        if not transaction.replaced and not any(draft.retire.values()):
            return

        def finish() -> None:
            try:
                wait_for_programs()
                for name in reversed(ORDER):
                    self._maps[name].delete_many(draft.retire[name] - draft.writes[name].keys())
                transaction.delete_stand_ins()
                for key in draft.gone():
                    self.ids.release(key)
            except BaseException as error:
                self._failure = error  # raised by the next settle()

        thread = threading.Thread(target=finish, name="kmesh-lab-publisher", daemon=True)
        try:
            thread.start()  # before anybody can join it
        except RuntimeError:  # no more threads: the caller waits
            finish()
            return
        self._finishing = thread

"""The clients and connects of a LocalityPanel: real ones, in a row, counted by where they arrived."""

from __future__ import annotations

import errno
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.errors import LabError
from kmesh_lab.lab import Connects, Lab, Pod
from kmesh_lab.widgets.locality_run import Guess, LocalityRun

__all__ = ["Client", "connects", "setting_of"]

_CHUNK = 100  # connects between two pictures
_PODLESS = 20  # connects, when some may go to an address that nobody has: each of those waits
_PATIENCE = 0.05  # seconds that such a connect waits


class Client:
    """A pod, and what is known of it without: a panel keeps neither the pod nor its lab alive."""

    def __init__(self, pod: Pod) -> None:
        self.name, self.node, self.place = pod.name, pod.node.name, pod.node.place
        self.publisher = pod.node.publisher
        self._pod = weakref.ref(pod)

    @property
    def pod(self) -> Pod:
        """The pod; `kmesh_lab.LabError` when it is gone."""
        pod = self._pod()
        if pod is None:
            raise LabError(f"the pod {self.name!r} is gone; make it again, then the panel")
        return pod

    @property
    def alive(self) -> bool:
        """False when there is no pod, or its process has ended."""
        pod = self._pod()
        return pod is not None and pod.alive


def connects(
    lab: Lab, client: Pod, published: Publication, predicted: Mapping[str, Guess], count: int
) -> Iterator[LocalityRun]:
    """Connect ``count`` times to the first port of what is published; yields the run so far, again and again."""
    service, node = published.service, client.node
    stored = [each for each in published.endpoints if each.healthy]
    podless = [each.name for each in stored if each.name not in lab.pods]
    count = min(count, _PODLESS) if podless else count
    run = LocalityRun(
        setting=setting_of(published),
        client=client.name,
        node=node.name,
        service=service,
        asked=count,
        predicted=predicted,
        priorities={each.name: node.publisher.priority_of(service, each) for each in stored},
        row=node.maps.service[service].prio_endpoint_count,
        waypoint=published.waypoint is not None,
        note=f"{podless[0]} has no pod, so a connect to it waits: only {count} connects are made." if podless else "",
    )
    port = next(iter(service.ports))
    run = _first(run, client, port, _PATIENCE if podless else 5)
    yield run
    while run.total < count:
        step = min(_CHUNK, count - run.total)
        if podless:
            lab.require_open()
            asked = {"address": str(service.vips[0]), "port": port, "count": step, "timeout": _PATIENCE}
            reached = client.tally(client.process.request("connect_many", **asked))
        else:
            reached = client.connect_many(service, port, count=step)
        yield run.add(reached)


def setting_of(published: Publication) -> str:
    """Policy, preference and who is out, in one line."""
    out = [each.name for each in published.endpoints if not each.healthy]
    outs = f", out: {', '.join(out)}" if out else ""
    return f"{published.service.load_balancing}{outs}"


def _first(run: LocalityRun, client: Pod, port: int, patience: float) -> LocalityRun:
    """The first connect alone: the programs report how they decided."""
    try:
        connection = client.connect(run.service, port, timeout=patience)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error.errno))
        decision, seen = getattr(error, "decision", None), Connects({}, {name: 1})
    else:
        decision = connection.decision
        connection.socket.close()  # nothing was said, so no goodbye
        seen = Connects({connection.backend.name if connection.backend else address_text(connection.peer): 1}, {})
    steps = decision.steps if decision else ()
    level = next((step.prio for step in steps if step.kind == "ENDPOINT"), None)
    story = next((step.story for step in steps if step.kind == "VERDICT"), "")
    return replace(run, level=level, story=story).add(seen)

"""Where will a client's connects go? Predict, then let the kernel answer with hundreds of real connects.

Over 300 lines because it is one class: settings, messages and picture change together, under one lock.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, ClassVar

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import one_line
from kmesh_lab.errors import LabError
from kmesh_lab.lab import Lab, Pod, Waypoint
from kmesh_lab.mesh import LoadBalancing, Locality, Policy, Scope, Service, Workload, explain_priority
from kmesh_lab.widgets.locality_connects import Client, connects, setting_of
from kmesh_lab.widgets.locality_run import Guess, LocalityRun, check_guesses
from kmesh_lab.widgets.locality_static import static_form
from kmesh_lab.widgets.view import Feed, View
from kmesh_lab.widgets.weak_spots import weak_spots

__all__ = ["Guess", "LocalityPanel", "LocalityRun"]

_SCOPES = ("REGION", "ZONE", "SUBZONE", "NODE")
_FEWEST, _MOST = 10, 1000
_REMEMBERED = 5  # earlier runs


class LocalityPanel(View):
    """Settings of one service, a prediction, and real connects from one of ``clients``.

    >>> panel = LocalityPanel(lab, inventory, clients=[shop, visitor])
    >>> panel.set(policy="STRICT", preference=["NODE"], healthy={"inventory-a": False})
    >>> panel.predict({"inventory-a": "none", "inventory-b": "none"})
    >>> panel.run(500)
    <LocalityRun 500 from shop: inventory-a 0, inventory-b 0, EHOSTUNREACH 500>

    The service is published as set when it runs, and stays so until `restore`. Needs no browser; only a page that shows
    the panel starts the thread that notices ended pods and a closed lab.
    """

    name: ClassVar[str] = "locality_panel"
    _feed: Feed | None = None

    def __init__(self, lab: Lab, service: Service, clients: Sequence[Pod]) -> None:
        if not clients or not all(isinstance(pod, Pod) and lab.pods.get(pod.name) is pod for pod in clients):
            raise LabError("a LocalityPanel needs clients: a list of pods of this lab, best on different nodes")
        self._held = weakref.ref(lab)  # a panel on a page does not keep a lab that nobody else holds
        self._clients = {pod.name: Client(pod) for pod in clients}
        self._client = self._clients[clients[0].name]
        self._service = service
        self._lock = threading.RLock()  # the feed and the main thread draw; a picture is made and set in one piece
        self._guesses: dict[str, Guess] = {}
        self._healthy: dict[str, bool] = {}
        self._balancing = service.load_balancing
        self._message = 0  # the last one heard from the page
        self._locked = self._running = False
        self._count, self._error, self._note = 500, "", ""
        self._history: list[LocalityRun] = []
        self.result: LocalityRun | None = None
        publication = self._publication()
        if publication is None:
            raise LabError(f"service {service.name!r} is not published; `lab.apply` publishes it")
        self._adopt(publication)
        super().__init__(**self._picture())

    # ---- what a cell and the page can do

    def set(
        self,
        *,
        policy: Policy | str | None = None,
        preference: Sequence[Scope | str] | None = None,
        healthy: Mapping[str, bool] | None = None,
        client: Pod | str | None = None,
    ) -> None:
        """Change settings; what is left out stays. The prediction must be committed anew."""
        self._refresh()
        balancing = LoadBalancing(
            self._balancing.policy if policy is None else policy,
            self._balancing.routing_preference if preference is None else preference,
        )
        unknown = set(healthy or {}) - set(self._healthy)
        if unknown:
            raise ValueError(f"no endpoint {sorted(unknown)[0]!r}: there is {', '.join(self._healthy) or 'none'}")
        if client is not None:
            name = client.name if isinstance(client, Pod) else client
            if name not in self._clients:
                raise ValueError(f"no client {name!r}: there is {', '.join(self._clients)}")
            self._client = self._clients[name]
        with self._lock:
            self._balancing = balancing
            self._healthy |= healthy or {}
            self._again()

    def predict(self, guesses: Mapping[str, Guess]) -> None:
        """Commit a prediction for every endpoint: "none", "some" or "all" of the connects, or a number of them."""
        self._refresh()
        check_guesses(guesses, self._healthy)
        with self._lock:
            self._keep_result()
            self._guesses = dict(guesses)
            self._locked, self._error, self._note = True, "", ""
            self._draw()

    def run(self, count: int | None = None) -> LocalityRun:
        """Publish the service as set and connect ``count`` times (10 to 1000, default 500), redrawing as it goes."""
        self._count = self._check_count(self._count if count is None else count)
        with self._lock:
            self._refresh()
            if not self._locked:
                raise LabError("predict first: panel.predict({...}) says what you expect at each endpoint")
            self._keep_result()
            self._running, self._error, self._note = True, "", ""
            try:
                self._publish()
                return self._connect()
            finally:
                self._running = False
                self._draw()

    def restore(self) -> None:
        """Publish the service again as it was before the panel changed it."""
        with self._lock:
            original = self._original
            self._apply(original.service, list(original.endpoints))
            self._adopt(original)
            self._again("The service is as it was before the panel changed it.")

    def close(self) -> None:
        """End the view and its thread; the service stays as it is."""
        if self._feed:
            self._feed.stop()
        super().close()

    # ---- messages from the page

    def _heard(self, content: Any) -> None:
        if isinstance(content, dict):
            self._message = content.pop("message", 0)  # at once: a run takes seconds, and shows how it goes
            super()._heard(content)
            self._draw()  # at least to say that it was heard

    def on_open(self) -> None:
        """A page shows the panel: from now on notice what ends."""
        if self._feed is None or not self._feed.running:
            self._feed = Feed(f"LocalityPanel {self._service.name}", self, self._watch, 0.5)
            self._feed.start()

    def on_set(self, **changes: Any) -> None:
        """A control was moved."""
        with self._errors_shown():
            self.set(**changes)

    def on_commit(self, guesses: Mapping[str, Guess]) -> None:
        """The prediction is complete."""
        with self._errors_shown():
            self.predict(guesses)

    def on_run(self, count: int) -> None:
        """The run button: what a learner predicted wrongly becomes a weak spot."""
        with self._errors_shown():
            run = self.run(count)
            weak_spots.record(
                f"Where do the connects of {run.client} go? {run.setting}",
                "LocalityPanel",
                right=all(run.right(name) for name in run.predicted),
                said=", ".join(f"{name} {guess}" for name, guess in run.predicted.items()),
                so=", ".join(f"{name} {seen}" for name, seen in sorted((run.counts + run.refused).items())),
            )

    def on_again(self) -> None:
        """Predict once more with the same settings."""
        self._again()

    def on_restore(self) -> None:
        """The button that puts the service back."""
        with self._errors_shown():
            self.restore()

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        try:
            yield
        except (LabError, ValueError, TypeError, OSError) as error:
            self._error = str(error)
            self._draw()

    # ---- the service

    @property
    def _lab(self) -> Lab:
        lab = self._held()
        if lab is None:
            raise LabError("this lab is closed; make another one with Lab()")
        return lab

    @property
    def _closed(self) -> bool:
        lab = self._held()
        return lab is None or lab.closed

    @property
    def _publisher(self) -> Any:
        return self._client.publisher

    def _publication(self) -> Publication | None:
        found: Publication | None = self._publisher.publication(self._service)
        return found

    def _adopt(self, publication: Publication) -> None:
        """Take what is published for the panel's own state."""
        self._original = self._applied = publication
        self._balancing = publication.service.load_balancing
        self._workloads = {workload.name: workload for workload in publication.endpoints}
        self._healthy = {workload.name: workload.healthy for workload in publication.endpoints}
        self._guesses = {name: guess for name, guess in self._guesses.items() if name in self._healthy}

    def _refresh(self) -> None:
        """See whether the service was changed by somebody else; raises `LabError` when there is nothing to run on."""
        self._lab.require_open()
        publication = self._publication()
        if publication is None:
            raise LabError(f"service {self._service.name!r} is not published any more; `lab.apply` publishes it")
        if publication != self._applied:
            self._adopt(publication)
            self._again("The service was changed outside the panel, which shows the new state now.")

    def _again(self, note: str = "") -> None:
        """Back to predicting; the last result becomes an earlier one."""
        if self.result:
            self._guesses = {}
        self._keep_result()
        self._locked, self._error, self._note = False, "", note
        self._draw()

    def _keep_result(self) -> None:
        if self.result:
            self._history = [self.result, *self._history][:_REMEMBERED]
        self.result = None

    def _wanted(self) -> Publication:
        old = self._applied.service
        service = Service(old.name, old.vips, dict(old.ports), self._balancing)
        workloads = (replace(each, healthy=self._healthy[each.name]) for each in self._applied.endpoints)
        return replace(self._applied, service=service, endpoints=tuple(workloads))

    def _publish(self) -> None:
        wanted = self._wanted()
        if wanted != self._applied:
            self._apply(wanted.service, list(wanted.endpoints))
            self._applied = wanted

    def _apply(self, service: Service, endpoints: Sequence[Workload]) -> None:
        gates = (pod for pod in self._lab.pods.values() if isinstance(pod, Waypoint))
        waypoint = next((gate for gate in gates if gate.entrance == self._applied.waypoint), None)
        self._lab.apply(service, endpoints, waypoint=waypoint)

    def _connect(self) -> LocalityRun:
        run = None
        made = connects(self._lab, self._client.pod, self._applied, dict(self._guesses), self._count)
        for run in made:
            self.result, self._note = run, run.note
            self._draw()
        assert run
        return run

    # ---- the picture

    def _watch(self) -> dict[str, Any] | None:
        """For the feed: draw when something outside the panel changed; ends with the lab."""
        with self._lock, suppress(LabError):
            self._draw()
            self._refresh()
        if self._closed and self._feed:
            self._feed.stop()
        return None

    def _draw(self) -> None:
        with self._lock:
            frame = self._picture()
            if frame != self.frame:
                self.frame = frame

    def _picture(self) -> dict[str, Any]:
        service, run = self._applied.service, self.result
        phase = "running" if self._running else "done" if run else "ready" if self._locked else "predict"
        return {
            "heard": self._message,
            "state": self._state(),
            "phase": phase,
            "service": {
                "name": service.name,
                "vip": address_text((service.vips[0], next(iter(service.ports)))),
            },
            "clients": [
                {"name": each.name, "where": _place(each.node, each.place.locality), "alive": each.alive}
                for each in self._clients.values()
            ],
            "client": self._client.name,
            "policy": self._balancing.policy.name,
            "preference": [scope.name for scope in self._balancing.routing_preference],
            "scopes": list(_SCOPES),
            "endpoints": [self._endpoint(workload) for workload in self._workloads.values()],
            "count": self._count,
            "asked": run.asked if run else self._count,
            "made": run.total if run else 0,
            "others": [list(each) for each in run.others] if run else [],
            "verdict": run.verdict if run and phase == "done" else "",
            "why": run.why if run and phase == "done" else [],
            "story": run.story if run and phase == "done" else "",
            "published": setting_of(self._applied),
            "changed": self._applied != self._original,
            "error": self._error,
            "note": self._note,
            "history": [[each.setting, each.summary] for each in self._history],
        }

    def _endpoint(self, workload: Workload) -> dict[str, Any]:
        run, name = self.result, workload.name
        guess = (run.predicted if run else self._guesses).get(name)
        shown: dict[str, Any] = {
            "name": name,
            "where": _place(workload.node, workload.locality),
            "healthy": self._healthy[name],
            "trouble": self._trouble(name),
            "guess": guess,
        }
        if run:
            place = self._clients[run.client].place
            scopes = explain_priority(run.service.load_balancing.routing_preference, place, workload.place)
            used = run.service.load_balancing.policy is not Policy.RANDOM
            shown |= {
                "expected": run.expected(name),
                "seen": run.counts[name],
                "right": run.right(name),
                "priority": run.priorities.get(name),
                "chosen": run.level is not None and run.priorities.get(name) == run.level,
                "scopes": [[step.scope.name, step.outcome] for step in scopes] if used else [],
            }
        return shown

    def _trouble(self, endpoint: str) -> str:
        """Why an endpoint cannot answer; of a closed lab `_state` says so, once for all."""
        lab = self._held()
        if lab is None or self._closed:
            return ""
        pod = lab.pods.get(endpoint)
        return "" if pod and pod.alive else "its process has ended" if pod else "no pod has this address"

    def _state(self) -> str:
        if self._closed:
            return "The lab is closed: nothing here can run any more. Make a new lab and run the cell again."
        if not self._client.alive:
            others = " Choose another client." if any(each.alive for each in self._clients.values()) else ""
            return f"The process of {self._client.name} has ended, so it cannot connect.{others}"
        if self._publication() is None:
            return f"Service {self._service.name} is not published any more; lab.apply publishes it."
        return ""

    def _check_count(self, count: int) -> int:
        if type(count) is not int or not _FEWEST <= count <= _MOST:
            raise ValueError(f"count {count!r}: expected a number of connects from {_FEWEST} to {_MOST}")
        return count

    def html(self) -> str:
        """The settings, the prediction and the last run, as tables."""
        return static_form(self.frame, str(self._balancing))

    def __repr__(self) -> str:
        waiting = "prediction committed" if self._locked else "no prediction yet"
        what = self.result.summary if self.result else waiting
        return one_line(f"<LocalityPanel {self._client.name} → {self._service.name}, {self._balancing}: {what}>")


def _place(node: str, locality: Locality) -> str:
    return f"on {node}, {str(locality) or 'no locality'}"

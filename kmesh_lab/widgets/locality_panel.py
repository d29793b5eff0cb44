"""Where will a client's connects go? Predict, then let the kernel answer with hundreds of real connects."""

from __future__ import annotations

import errno
import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any, ClassVar

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import one_line
from kmesh_lab.errors import LabError
from kmesh_lab.lab import Connects, Lab, Pod, Waypoint
from kmesh_lab.mesh import LoadBalancing, Locality, Policy, Scope, Service, Workload, explain_priority
from kmesh_lab.widgets.view import Feed, View

__all__ = ["Guess", "LocalityPanel", "LocalityRun"]

Guess = str | int
"""What is expected at an endpoint: "none", "some" or "all" of the connects, or how many."""

_WORDS = ("none", "some", "all")
_SCOPES = ("REGION", "ZONE", "SUBZONE", "NODE")
_CHUNK = 100  # connects between two pictures
_FEWEST, _MOST = 10, 1000
_PODLESS = 20  # connects, when some may go to an address that nobody has: each of those waits
_PATIENCE = 0.05  # seconds that such a connect waits
_REMEMBERED = 5  # earlier runs
_BAR = 20  # characters

_RULE = {
    Policy.RANDOM: "RANDOM stores every endpoint at priority 0 and picks any of them; nobody looks at the preference",
    Policy.STRICT: "STRICT looks at priority 0 only: the endpoints that match the whole preference",
    Policy.FAILOVER: "FAILOVER takes the lowest priority that has an endpoint, and no other",
}


@dataclass(frozen=True)
class LocalityRun:
    """One series of real connects, beside what was predicted.

    ``level`` is the priority that the program reported for the first connect, None if it reported none; ``row`` is
    what the kernel's km_service row counted at each priority, ``story`` how the program ended.
    """

    setting: str
    client: str
    node: str
    service: Service
    asked: int
    predicted: Mapping[str, Guess]
    priorities: Mapping[str, int]
    row: tuple[int, ...]
    waypoint: bool = False
    level: int | None = None
    story: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """The connects made so far."""
        return sum(self.counts.values()) + sum(self.refused.values())

    def right(self, name: str) -> bool:
        """Whether the prediction for this endpoint came true; a number may be off by what chance allows."""
        guess, seen = self.predicted[name], self.counts[name]
        if isinstance(guess, str):
            return {"none": seen == 0, "some": 0 < seen < self.total, "all": 0 < seen == self.total}[guess]
        share = min(1.0, guess / max(1, self.asked))
        return abs(seen - guess) <= 4 * math.sqrt(self.asked * share * (1 - share))

    @property
    def why(self) -> list[str]:
        """What happened, in sentences, the surprising part last."""
        at = ", ".join(f"{name} at {prio}" for name, prio in self.priorities.items()) or "no endpoint at all"
        lines = [f"Node {self.node} stores by priority: {at}.", f"{_RULE[self.service.load_balancing.policy]}."]
        if self.level is not None:
            lines.append(f"The program on {self.node} reported priority {self.level}.")
        if self.waypoint:
            lines.append(
                "The service has a waypoint, which chooses the endpoint; the program does not read the policy."
            )
        if self.refused and not self.counts and not any(self._looked_at):
            vip = address_text((self.service.vips[0], next(iter(self.service.ports))))
            lines.append(
                f"No endpoint was left to choose, and still the mesh blocked nothing: the program let connect(2) go on "
                f"to the VIP, {vip}. Here nobody has that address, so the kernel answers {', '.join(self.refused)}; "
                "in a cluster kube-proxy could still answer."
            )
        elif self.refused:
            seen = ", ".join(f"{number} × {name}" for name, number in self.refused.items())
            lines.append(f"Connects that failed: {seen}. Nothing tried them again at another endpoint.")
        return lines

    @property
    def _looked_at(self) -> tuple[int, ...]:
        return self.row if self.service.load_balancing.policy is Policy.FAILOVER else self.row[:1]

    @property
    def verdict(self) -> str:
        """Right or wrong, in one line."""
        wrong = [name for name in self.predicted if not self.right(name)]
        if not wrong:
            return "Your prediction was right."
        seen = "; ".join(f"{name}: you said {self.predicted[name]}, it was {self.counts[name]}" for name in wrong)
        return f"Not as predicted. {seen}."

    @property
    def others(self) -> list[tuple[str, int]]:
        """What became of connects that reached none of the endpoints."""
        reached = [(name, number) for name, number in self.counts.items() if name not in self.predicted]
        return [*reached, *self.refused.items()]

    @property
    def summary(self) -> str:
        """``500 from shop: inventory-a 500, inventory-b 0``."""
        seen = [*((name, self.counts[name]) for name in self.predicted), *self.others]
        return f"{self.total} from {self.client}: {', '.join(f'{name} {number}' for name, number in seen)}"

    def __repr__(self) -> str:
        return one_line(f"<LocalityRun {self.summary}>")


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
        self._lab, self._clients, self._client = lab, {pod.name: pod for pod in clients}, clients[0]
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
        for name, guess in guesses.items():
            if name not in self._healthy:
                raise ValueError(f"no endpoint {name!r}: there is {', '.join(self._healthy) or 'none'}")
            if not (guess in _WORDS if isinstance(guess, str) else type(guess) is int and guess >= 0):
                raise ValueError(f"prediction {guess!r} for {name}: expected none, some, all or a number of connects")
        wanted = [name for name in self._healthy if name not in guesses]
        if wanted:
            raise ValueError(f"predict {wanted[0]} too: none, some, all or a number of connects")
        if "all" in guesses.values() and any(guess not in ("none", 0) for guess in guesses.values() if guess != "all"):
            raise ValueError("if all connects reach one endpoint, the others get none")
        if sum(guess == "all" for guess in guesses.values()) > 1:
            raise ValueError("all connects cannot reach two endpoints at once: did you mean some and some?")
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
            self._message = content.pop("message", 0)
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
        """The run button."""
        with self._errors_shown():
            self.run(count)

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
    def _publisher(self) -> Any:
        return self._client.node.publisher

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

    # ---- connecting

    def _connect(self) -> LocalityRun:
        client, service = self._client, self._applied.service
        stored = [each for each in self._applied.endpoints if each.healthy]
        podless = [each.name for each in stored if each.name not in self._lab.pods]
        count = min(self._count, _PODLESS) if podless else self._count
        if podless:
            self._note = f"{podless[0]} has no pod, so a connect to it waits: only {count} connects are made."
        run = LocalityRun(
            setting=f"{service.load_balancing}{self._outs()}",
            client=client.name,
            node=client.node.name,
            service=service,
            asked=count,
            predicted=dict(self._guesses),
            priorities={each.name: self._publisher.priority_of(service, each) for each in stored},
            row=client.node.maps.service[service].prio_endpoint_count,
            waypoint=self._applied.waypoint is not None,
        )
        self.result = run = self._first(run, _PATIENCE if podless else 5)
        port = next(iter(service.ports))
        while run.total < count:
            step = min(_CHUNK, count - run.total)
            if podless:
                self._lab.require_open()
                asked = {"address": str(service.vips[0]), "port": port, "count": step, "timeout": _PATIENCE}
                reached = client.tally(client.process.request("connect_many", **asked))
            else:
                reached = client.connect_many(service, port, count=step)
            _add(run, reached)
            self._draw()
        return run

    def _first(self, run: LocalityRun, patience: float) -> LocalityRun:
        """The first connect alone: the programs report how they decided."""
        try:
            connection = self._client.connect(run.service, next(iter(run.service.ports)), timeout=patience)
        except OSError as error:
            decision, seen = getattr(error, "decision", None), Connects({}, {_errno_name(error): 1})
        else:
            decision = connection.decision
            connection.socket.close()  # nothing was said, so no goodbye
            seen = Connects({connection.backend.name if connection.backend else address_text(connection.peer): 1}, {})
        steps = decision.steps if decision else ()
        level = next((step.prio for step in steps if step.kind == "ENDPOINT"), None)
        story = next((step.story for step in steps if step.kind == "VERDICT"), "")
        return _add(replace(run, level=level, story=story), seen)

    # ---- the picture

    def _watch(self) -> dict[str, Any] | None:
        """For the feed: draw when something outside the panel changed; ends with the lab."""
        with self._lock, suppress(LabError):
            self._draw()
            self._refresh()
        if self._lab.closed and self._feed:
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
                {"name": pod.name, "where": _place(pod.node.name, pod.node.place.locality), "alive": pod.alive}
                for pod in self._clients.values()
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
            "published": f"{self._applied.service.load_balancing}{self._outs()}",
            "changed": self._applied != self._original,
            "error": self._error,
            "note": self._note,
            "history": [[each.setting, each.summary] for each in self._history],
        }

    def _endpoint(self, workload: Workload) -> dict[str, Any]:
        run, name = self.result, workload.name
        pod, guess = self._lab.pods.get(name), (run.predicted if run else self._guesses).get(name)
        shown: dict[str, Any] = {
            "name": name,
            "where": _place(workload.node, workload.locality),
            "healthy": self._healthy[name],
            "trouble": "" if pod and pod.alive else "its process has ended" if pod else "no pod has this address",
            "guess": guess,
        }
        if run:
            place = self._clients[run.client].node.place
            scopes = explain_priority(run.service.load_balancing.routing_preference, place, workload.place)
            used = run.service.load_balancing.policy is not Policy.RANDOM
            shown |= {
                "expected": _expected(run, name),
                "seen": run.counts[name],
                "right": run.right(name),
                "priority": run.priorities.get(name),
                "chosen": run.level is not None and run.priorities.get(name) == run.level,
                "scopes": [[step.scope.name, step.outcome] for step in scopes] if used else [],
            }
        return shown

    def _outs(self) -> str:
        out = [each.name for each in self._applied.endpoints if not each.healthy]
        return f", out: {', '.join(out)}" if out else ""

    def _state(self) -> str:
        if self._lab.closed:
            return "The lab is closed: nothing here can run any more. Make a new lab and run the cell again."
        if not self._client.alive:
            others = " Choose another client." if any(pod.alive for pod in self._clients.values()) else ""
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
        frame = self.frame
        client = next(each for each in frame["clients"] if each["name"] == frame["client"])
        rows = [
            [
                each["name"],
                each["where"],
                ("in" if each["healthy"] else "out") + (f", {each['trouble']}" if each["trouble"] else ""),
                "not yet" if each["guess"] is None else each["guess"],
                *((_bar(each["seen"], frame["made"]), _priority_text(each)) if "seen" in each else ("", "")),
            ]
            for each in frame["endpoints"]
        ]
        rows += [[name, "no endpoint", "", "", _bar(number, frame["made"]), ""] for name, number in frame["others"]]
        columns = ("endpoint", "place", "health", "predicted", "observed", "priority")
        head = "".join(f"<th>{name}</th>" for name in columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
        way = f"{frame['client']} ({client['where']}) → {frame['service']['name']}"
        title = f"{way}, {self._balancing}, {frame['made'] or 'no'} connects"
        lines = [frame["state"], frame["note"], frame["error"], frame["verdict"], *frame["why"]]
        lines += [f"Earlier: {text} ({past})" for past, text in frame["history"]]
        lines += [f"Published now: {frame['published']}{', changed by this panel' if frame['changed'] else ''}."]
        said = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
        top = f"<caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>"
        return f"<table>{top}<tbody>{body}</tbody></table>{said}"

    def __repr__(self) -> str:
        waiting = "prediction committed" if self._locked else "no prediction yet"
        what = self.result.summary if self.result else waiting
        return one_line(f"<LocalityPanel {self._client.name} → {self._service.name}, {self._balancing}: {what}>")


def _add(run: LocalityRun, seen: Connects) -> LocalityRun:
    run.counts.update(seen)
    run.refused.update(seen.refused)
    return run


def _expected(run: LocalityRun, name: str) -> int:
    """The length of the predicted bar: "some" is an even share among those of which some was said."""
    guess = run.predicted.get(name, 0)
    if isinstance(guess, int):
        return guess
    return {"none": 0, "all": run.asked, "some": run.asked // max(1, list(run.predicted.values()).count("some"))}[guess]


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def _place(node: str, locality: Locality) -> str:
    return f"on {node}, {str(locality) or 'no locality'}"


def _bar(number: int, total: int) -> str:
    return f"{'█' * round(_BAR * number / max(1, total))} {number}".strip()


def _priority_text(each: Mapping[str, Any]) -> str:
    if each["priority"] is None:
        return "no row: out"
    compared = ", ".join(f"{scope} {outcome}" for scope, outcome in each["scopes"])
    return f"{each['priority']}{' (chosen)' if each['chosen'] else ''}{f': {compared}' if compared else ''}"

"""The whole lab while connections come and go: who asked for what, who was chosen, who is out."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from html import escape
from typing import Any, ClassVar, TypeVar

from kmesh_lab.datapath.decision import Trail
from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import counted, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.lab import Connect, Lab, Picture, Pod, Story, Way, Waypoint
from kmesh_lab.widgets.live import LiveView

__all__ = ["Topology"]

T = TypeVar("T")

_LINGER = 1.5  # seconds that a connection which is over stays in the picture
_PODLESS = 20  # endpoints of a service that are listed, pod or not
_CLOSED = "The lab is closed: this is the last picture. Make a new lab and run the cell again."
_STATES = {"asked": "not established", "open": "open", "closed": "closed", "outside": "let through"}


class Topology(LiveView):
    """The nodes, pods and services of a lab, and their connections as they happen: ``Topology(lab)``.

    >>> view = Topology(lab)
    >>> held = view.run(lambda: [shop.connect(inventory, 80) for _ in range(3)])
    >>> view
    <Topology 2 nodes, 3 pods, 1 service: 3 connections open>

    Everything about a connection is a step that a program reported. A page that shows the view looks ten times a
    second, until `stop`; only one view is live at a time. Raises `LabError` for a lab without the decision trace.
    """

    name: ClassVar[str] = "topology"
    _subject = "Topology"

    def __init__(self, lab: Lab) -> None:
        lab.require_open()
        self._lab = weakref.ref(lab)  # a view on a page does not keep a lab that nobody else holds
        self._lock = threading.RLock()
        self._trails: dict[str, Trail] = {}
        self._pods: dict[int, str] = {}  # cookie of the network namespace → name, also of pods that are gone
        self._publications: list[Publication] = []
        self._rows: list[dict[str, Any]] = []
        self._story, self._only = Story(), ""
        self._lost = self._lost_before = 0
        self._picture: Picture = lab.picture()
        self._read()
        if self._state:
            raise LabError(self._state)
        self._forget()  # counting begins with what is open
        self._compose(time.monotonic())
        super().__init__(**self._frame())

    # ---- what a cell and the page can do

    def run(self, work: Callable[[], T]) -> T:
        """Look while ``work()`` runs, and return what it returns. The last picture has every connect it made."""
        live, begin = self._running, time.monotonic()
        if not live:
            self.start()
        try:
            return work()
        finally:
            if not live:
                self.stop()
            with self._lock:
                self._read()
                self._draw(begin)

    def show(self, pod: Pod | str = "") -> None:
        """Only the connects of one pod; without a name, those of all."""
        name = pod.name if isinstance(pod, Pod) else pod
        with self._lock:
            if name and name not in self._pods.values():
                raise LabError(f"no pod {name!r} in this lab; there is {', '.join(self._pods.values()) or 'none yet'}")
            self._only = name
            self._draw()

    def clear(self) -> None:
        """Forget what was listed and the connections that are over, and count only those that are open."""
        with self._lock:
            self._forget()
            self._draw()

    # ---- messages from the page

    def _heard(self, content: Any) -> None:
        if isinstance(content, dict):
            message = content.pop("message", 0)
            with suppress(TypeError):  # a message with other fields than the page sends
                super()._heard(content)
            self._message = message  # not earlier: the feed draws meanwhile, as if nothing had been asked for
            self._draw()

    def on_show(self, pod: str) -> None:
        """The list of pods, or a pod in the picture."""
        if not pod or pod in self._pods.values():
            self.show(pod)

    def on_clear(self) -> None:
        """The button."""
        self.clear()

    # ---- the lab

    def _read(self) -> None:
        """Take the new steps of every node, and what is published."""
        lab, now = self._lab(), time.monotonic()
        try:
            if lab is None or lab.closed:
                raise LabError(_CLOSED)
            nodes = dict(lab.nodes)
            self._pods |= {pod.netns_cookie: pod.name for pod in list(lab.pods.values())}
            for name, node in nodes.items():
                if name not in self._trails:
                    self._trails[name] = node.datapath.trail()
                self._story.take(name, self._trails[name].take(), self._who(name), now)
            self._story.end({*self._pods.values()} - {*lab.pods}, now)
            self._lost = sum(node.lost.trace for node in nodes.values())
            publications = next((node.publisher.publications() for node in nodes.values()), [])
            self._publications = [each for each in publications if "waypoint" not in each.service.key]
        except (LabError, OSError) as error:
            self._state = str(error) if lab is not None and not lab.closed else _CLOSED

    def _forget(self) -> None:
        self._story.begin(time.monotonic())
        self._lost_before = self._lost

    def _who(self, node: str) -> Callable[[int], str]:
        return lambda cookie: self._pods.get(cookie, f"a process on {node}")

    def _tick(self) -> None:
        with self._lock:
            self._story.forget(time.monotonic() - _LINGER)
        super()._tick()

    # ---- the picture

    def _draw(self, since: float | None = None) -> None:
        with self._lock:
            self._compose(time.monotonic() - _LINGER if since is None else since)
            super()._draw()

    def _compose(self, since: float) -> None:
        """What there is to draw, with the connects that ended after ``since``."""
        lab = self._lab()
        shown = [each for each in self._story.sockets.values() if each.state == "open" or each.changed >= since]
        try:
            if lab is None or self._state:
                raise LabError(self._state or _CLOSED)
            self._picture = lab.picture(list(self._ways(lab, shown)))
            self._rows = list(self._endpoints(lab))
        except LabError:  # closed, perhaps this moment: the last picture stays
            self._state = self._state or _CLOSED

    def _ways(self, lab: Lab, connects: Iterable[Connect]) -> Iterator[Way]:
        """One way for all connects that look the same."""
        alike: Counter[Way] = Counter()
        for each in connects:
            if self._only in ("", each.client):
                pod = lab.pod_at(each.went) if each.went else None
                state = {"open": "open", "outside": "outside"}.get(each.state, "gone")
                note = "nobody chosen" if each.words and each.service else ""
                alike[Way(each.client, each.asked, pod.name if pod else None, state, note=note)] += 1
        for way, count in sorted(alike.items(), key=lambda item: item[0].sentence):
            yield Way(way.client, way.asked, way.reached, way.state, count, way.note)

    def _endpoints(self, lab: Lab) -> Iterator[dict[str, Any]]:
        """A row for what was chosen, and for each endpoint, but of those without a pod only the first few."""
        opened = Counter(
            (each.service, each.chosen)
            for each in self._story.sockets.values()
            if each.state == "open" and self._only in ("", each.client)
        )
        chosen: dict[tuple[str, str], Counter[str]] = {}
        for (client, service, name, node, prio), count in self._story.chosen.items():
            if self._only in ("", client):
                level = f"{node}: priority {prio}" if prio is not None else node
                chosen.setdefault((service, name), Counter())[level] += count
        wanted = {
            (each.service.name, end.name): end
            for each in self._publications
            for place, end in enumerate(each.endpoints)
            if place < _PODLESS or end.name in lab.pods or (each.service.name, end.name) in chosen
        }
        for key in sorted({*wanted, *chosen}, key=lambda key: (key[0], not key[1], key[1])):
            end, pod = wanted.get(key), lab.pods.get(key[1])
            seen = chosen.get(key, Counter())
            if isinstance(pod, Waypoint):
                state = "the waypoint, which chooses"
            elif end:
                state = "in" if end.healthy else "out"
            else:
                state = "no endpoint any more" if key[1] else "nobody was left to choose"
            yield {
                "service": key[0],
                "name": key[1],
                "where": f"on {pod.node.name}" if pod else f"on {end.node}" if end else "",
                "state": "its process has ended" if pod and not pod.alive else state,
                "chosen": seen.total(),
                "by": [f"{level}, {count} ×" for level, count in sorted(seen.items())],
                "open": opened[key],
            }

    def _frame(self) -> dict[str, Any]:
        opened = [each for each in self._story.sockets.values() if each.state == "open"]
        mine = [each for each in self._story.last if self._only in ("", each.client)]
        return {
            **self._switches(),
            "picture": self._picture.shape.json(),
            "pods": sorted(set(self._pods.values())),
            "only": self._only,
            "rows": self._rows,
            "open": len(opened),
            "last": [_row(each) for each in reversed(mine)],
            "lost": self._lost - self._lost_before,
        }

    def html(self) -> str:
        """The picture, who was chosen, and the last connects."""
        frame = self.frame
        svg = self._picture.svg
        said = [frame["state"], f"{counted(frame['open'], 'connection')} open.", _lost_text(frame["lost"])]
        ends = [
            [
                each["service"],
                each["name"] or "nobody",
                each["state"],
                each["chosen"],
                each["open"],
                "; ".join(each["by"]),
            ]
            for each in frame["rows"]
        ]
        last = [[each["client"], each["asked"], each["chosen"], each["by"], each["state"]] for each in frame["last"]]
        return (
            f"<div>{svg}</div>"
            + "".join(f"<p>{escape(line)}</p>" for line in [self._picture.text, *said] if line)
            + _table("Endpoints", ("service", "endpoint", "state", "chosen", "open now", "by the program on"), ends)
            + (_table("The last connects", ("client", "asked for", "chosen", "by", "now"), last) if last else "")
        )

    def __repr__(self) -> str:
        lab = self._lab()
        if lab is None or lab.closed:
            return "<Topology: the lab is closed>"
        things = ((lab.nodes, "node"), (lab.pods, "pod"), (lab.services, "service"))
        what = ", ".join(counted(len(each), one) for each, one in things)
        return one_line(f"<Topology {what}: {counted(self.frame['open'], 'connection')} open>")


def _row(each: Connect) -> dict[str, Any]:
    asked = f"{each.service} {address_text(each.asked)}" if each.service else address_text(each.asked)
    level = f"{each.node}: priority {each.prio}" if each.prio is not None else each.node
    return {
        "client": each.client,
        "asked": asked,
        "chosen": each.chosen or each.words or "nothing",
        "by": level,
        "state": _STATES[each.state],
    }


def _lost_text(lost: int) -> str:
    return f"{lost:,} steps were lost: what is drawn as open may be over." if lost else ""


def _table(title: str, names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

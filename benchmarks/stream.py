"""EventStream under load, in JupyterLab and Chromium: from a record in the kernel to the picture that counts it.

The record carries the kernel's monotonic clock. The page notes its own clock after each picture, and both are held
against this process' clock. A recorder in the notebook keeps every event beside the stream, so that each of them, not
only those that a table has room for, gets the time of the first picture in which it is counted.
"""

from __future__ import annotations

import json
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.browser import Notebook, chromium, jupyterlab, notebook_of
from benchmarks.report import Figure

RATE, SECONDS, ALONE = 1000, 8, 20
PAUSE = 0.0030  # seconds between two connects, each of which is four events
CLOCKS = 21

SHOP = """
import kmesh_lab as km
from kmesh_lab.exercises import connecting
from kmesh_lab.widgets import EventStream
lab = km.Lab(trace=False)
n1, n2 = lab.node("n1", locality="cn-west/xian/a"), lab.node("n2", locality="cn-west/xian/b")
shop, far = lab.pod("shop", n1), lab.pod("inventory-b", n2, listen=8080)
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
lab.apply(inventory, [far])
record = lab.observatory.watch()
stream = EventStream(lab)
stream
"""
# After each picture: the clock of the page, and how many events it counts.
WATCH = """() => {
    window.pictures = [];
    const count = document.querySelector(".kl-ev-number");
    const note = () => window.pictures.push([performance.now(), Number(count.textContent.replaceAll(",", ""))]);
    let asked = false;
    new MutationObserver(() => {
        if (asked) return;
        asked = true;
        requestAnimationFrame(() => setTimeout(() => { asked = false; note(); }));
    }).observe(document.querySelector(".kl-ev"), {childList: true, characterData: true, subtree: true});
}"""
TIMES = "__import__('json').dumps(sorted(event.last_report_ns for event in record.read()))"


def figures() -> list[Figure]:
    """Events one by one, and a thousand a second."""
    messages: list[float] = []

    def listen(page: Page) -> None:
        page.on("websocket", lambda socket: socket.on("framereceived", heard))

    def heard(data: str | bytes) -> None:
        if (b"comm_msg" if isinstance(data, bytes) else "comm_msg") in data:  # type: ignore[operator]
            messages.append(time.monotonic())

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        jupyterlab(Path(home)) as server,
        chromium(Path(home, "chromium")) as context,
    ):
        context.on("page", listen)
        notebook = server.open(context, "stream", notebook_of([SHOP]))
        notebook.run_all()
        notebook.page.locator(".kl-ev [role=switch][aria-checked=true]").wait_for()
        notebook.page.evaluate(WATCH)
        offset = _offset(notebook)
        found = [*_alone(notebook, offset), *_flood(notebook, offset, messages)]
        notebook.ask("lab.close()")
        notebook.close()
        return found


def _offset(notebook: Notebook) -> float:
    """What to add to the clock of the page to get the machine's monotonic one; right to a millisecond or so."""
    found = []
    for _ in range(CLOCKS):
        before = time.monotonic()
        page = float(notebook.page.evaluate("() => performance.now()")) / 1000
        after = time.monotonic()
        found.append((after - before, (before + after) / 2 - page))
    return min(found)[1]


def _alone(notebook: Notebook, offset: float) -> list[Figure]:
    for _ in range(ALONE):
        notebook.ask("shop.connect_many(inventory, count=1)")
        notebook.page.wait_for_timeout(300)
    _, lags = _lags(notebook, offset, 0)
    return [Figure("EventStream, events one by one: record in the kernel to change on screen", lags, at_most=0.2)]


def _flood(notebook: Notebook, offset: float, messages: list[float]) -> list[Figure]:
    counted_before = 4 * ALONE
    begin = time.monotonic()
    load = f"with connecting(shop, inventory, pause={PAUSE}):\n    stream.run({SECONDS})"
    notebook.ask(f"exec({load!r}, globals())")
    end = time.monotonic()
    times, lags = _lags(notebook, offset, counted_before)
    a_second = Counter(int(at - begin) for at in messages if begin <= at < end)
    lost = int(notebook.ask("stream.frame['lost']")) + len(times) - len(lags)
    rate = len(times) / (times[-1] - times[0])
    return [
        Figure("the same under load: events per second", [rate], "/s", at_least=RATE),
        Figure("under load: record in the kernel to change on screen", lags, at_most=0.2),
        Figure(f"lost of {len(times):,} events, in the kernel or on the way to the screen", [lost], "", at_most=0),
        Figure("comm messages to the page, in the busiest second", [max(a_second.values())], "", at_most=20),
    ]


def _lags(notebook: Notebook, offset: float, counted_before: int) -> tuple[list[float], list[float]]:
    """When the events since the last call were recorded, and how long each took to be counted on the screen."""
    notebook.page.wait_for_timeout(500)
    times = [ns / 1e9 for ns in json.loads(notebook.ask(TIMES))]
    pictures = notebook.page.evaluate("() => window.pictures")
    counts = [int(count) for _, count in pictures]
    lags = []
    for number, at in enumerate(times, counted_before + 1):
        picture = bisect_left(counts, number)
        if picture < len(counts):
            lags.append(pictures[picture][0] / 1000 + offset - at)
    return times, lags

"""EventStream without a browser: what it shows, how it filters, pauses and counts, and how it ends."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import kmesh_lab as km
from kmesh_lab.exercises import connecting
from kmesh_lab.widgets import event_stream
from kmesh_lab.widgets.event_stream import EventStream

pytestmark = pytest.mark.root

EVIL = "<img src=x onerror=alert(1)>"


@dataclass
class Shop:
    lab: km.Lab
    n1: km.Node
    shop: km.Pod
    near: km.Pod
    far: km.Pod
    inventory: km.Service


@pytest.fixture
def day() -> Iterator[Shop]:
    with km.Lab() as lab:
        n1, n2 = lab.node("n1", "cn-west/xian/a"), lab.node("n2", "cn-west/xian/b")
        shop = lab.pod("shop", n1)
        near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(inventory, [near])
        yield Shop(lab, n1, shop, near, far, inventory)


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for what must happen; how long it takes is not what is tested here."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def drawn(stream: EventStream, total: int) -> dict[str, Any]:
    """The picture with so many events."""

    def all_there() -> bool:
        stream.refresh()
        return bool(stream.frame["total"] >= total)

    until(all_there, f"{total} events")
    return dict(stream.frame)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "EventStream" in thread.name]


def test_a_connection_is_four_events_newest_first_with_names(day: Shop) -> None:
    stream = EventStream(day.lab)
    with day.shop.connect(day.inventory, 80) as connection:
        connection.send(b"hello")
        connection.recv()

    frame = drawn(stream, 4)

    assert [row["n"] for row in frame["rows"]] == [4, 3, 2, 1]
    assert {(row["kind"], row["side"]) for row in frame["rows"]} == {
        *(("established", "OUTBOUND"), ("established", "INBOUND")),
        *(("closed", "OUTBOUND"), ("closed", "INBOUND")),
    }
    closed = next(row for row in frame["rows"] if (row["kind"], row["side"]) == ("closed", "OUTBOUND"))
    assert closed["client"][0] == "shop"
    assert closed["server"] == ["inventory-a", "10.244.1.2:8080"]
    assert closed["asked"] == ["inventory.shop", "10.96.0.10:80"]
    assert (closed["sent"], closed["received"]) == (7, 19)
    assert (frame["total"], frame["lost"]) == (4, 0)
    assert repr(stream) == "<EventStream: 4 events, 0 lost>"


def test_the_filter_takes_words_a_kind_and_a_side(day: Shop) -> None:
    stream = EventStream(day.lab)
    day.shop.connect(day.near).close()
    day.shop.connect(day.far).close()
    drawn(stream, 8)

    stream.show("inventory-b", kind="closed", side="INBOUND")
    (row,) = stream.frame["rows"]
    assert (row["server"][0], row["kind"], row["side"]) == ("inventory-b", "closed", "INBOUND")
    stream.show("SHOP 8080", kind="established")
    assert stream.frame["found"] == 4
    stream.show("nobody")
    assert (stream.frame["rows"], stream.frame["total"]) == ([], 8)
    with pytest.raises(ValueError, match="kind 'open': expected established, periodic or closed, or '' for all"):
        stream.show(kind="open")
    with pytest.raises(ValueError, match="side 'client': expected OUTBOUND or INBOUND"):
        stream.show(side="client")


def test_a_pause_holds_the_rows_and_loses_nothing(day: Shop) -> None:
    stream = EventStream(day.lab)
    day.shop.connect(day.near).close()
    before = drawn(stream, 4)["rows"]

    stream.pause()
    day.shop.connect(day.near).close()
    frame = drawn(stream, 8)

    assert (frame["rows"], frame["paused"], frame["since"]) == (before, True, 4)
    stream.resume()
    assert [row["n"] for row in stream.frame["rows"]] == list(range(8, 0, -1))


def test_the_page_pauses_at_the_event_that_it_has_shown(day: Shop) -> None:
    stream = EventStream(day.lab)
    day.shop.connect(day.near).close()
    drawn(stream, 4)

    stream._heard({"do": "pause", "at": 2, "message": 1})

    assert [row["n"] for row in stream.frame["rows"]] == [2, 1]
    assert (stream.frame["since"], stream.frame["heard"]) == (2, 1)
    stream._heard({"do": "resume", "message": 2})
    assert len(stream.frame["rows"]) == 4


def test_a_picture_drawn_while_a_message_is_handled_does_not_say_that_it_was(
    day: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, drawn = EventStream(day.lab), list[int]()

    def handle(**_: Any) -> None:
        stream._draw()
        drawn.append(stream.frame["heard"])

    monkeypatch.setattr(stream, "on_pause", handle)
    stream._heard({"do": "pause", "message": 7})

    assert (drawn, stream.frame["heard"]) == ([0], 7)


def test_records_that_found_the_ring_full_are_counted_and_said_in_words(day: Shop) -> None:
    stream = EventStream(day.lab)

    day.shop.connect_many(day.near, count=1000)  # 4 records each, and room for 1927
    stream.refresh()

    assert stream.frame["lost"] > 1000
    assert "lost: the ring buffer was full" in stream.html()


def test_memory_and_picture_stay_small(day: Shop) -> None:
    stream = EventStream(day.lab)
    for _ in range(8):
        day.shop.connect_many(day.near, count=100)
        stream.refresh()
    frame = drawn(stream, 3200)

    assert (frame["total"], frame["kept"], len(frame["rows"]), frame["lost"]) == (3200, 2000, 50, 0)
    assert len(str(frame)) < 30_000


def test_run_looks_for_a_while_and_ends_with_the_last_picture_and_without_a_thread(day: Shop) -> None:
    stream = EventStream(day.lab)

    with connecting(day.shop, day.inventory):
        assert stream.run(0.5) is stream
    assert threads() == []
    assert stream.frame["total"] > 10
    assert stream.frame["live"] is False
    assert stream.frame["state"] == ""
    with pytest.raises(ValueError, match="seconds 0: expected a number, more than 0 and at most 3600"):
        stream.run(0)


def test_while_it_runs_it_draws_at_most_ten_times_a_second(day: Shop) -> None:
    stream = EventStream(day.lab)
    drawings: list[float] = []
    stream.observe(lambda change: drawings.append(time.monotonic()), "frame")

    with connecting(day.shop, day.inventory):
        stream.run(1)

    steps = [later - one for one, later in pairwise(drawings)]
    assert len(drawings) >= 3
    assert all(step >= 0.1 for step in steps[1:-1])  # the first and the last picture are those of the main thread


def test_a_cell_that_is_run_again_leaves_one_thread(day: Shop) -> None:
    first = EventStream(day.lab)
    first._heard({"do": "open", "message": 1})
    assert threads() == ["kmesh-lab EventStream"]

    second = EventStream(day.lab)
    second._heard({"do": "open", "message": 1})

    assert threads() == ["kmesh-lab EventStream"]
    assert first.frame["state"] == "Stopped: another EventStream was started after this one."
    assert (first.frame["live"], second.frame["live"]) == (False, True)
    first._heard({"do": "live", "on": True, "message": 2})
    assert (first.frame["live"], second.frame["live"]) == (True, False)
    assert threads() == ["kmesh-lab EventStream"]
    first.close()
    assert threads() == []
    assert day.lab.observatory._looking == []


def test_a_stopped_stream_sees_nothing_until_it_is_started_again(day: Shop) -> None:
    stream = EventStream(day.lab)
    stream.start()
    stream.stop()
    day.shop.connect(day.near).close()
    stream.refresh()
    assert (stream.frame["total"], stream.frame["live"]) == (0, False)
    assert stream.frame["state"].startswith("Stopped")

    stream.start()
    day.shop.connect(day.near).close()
    assert drawn(stream, 4)["state"] == ""
    stream.stop()


def test_who_collects_events_meanwhile_gets_all_of_them_too(day: Shop) -> None:
    stream = EventStream(day.lab)
    stream.start()

    with day.lab.events() as events:
        for _ in range(25):
            day.shop.connect(day.near).close()

    assert (len(events), events.lost) == (100, 0)
    until(lambda: stream.frame["total"] == 100, "the stream sees them as well")
    stream.stop()


def test_a_killed_pod_is_said(day: Shop) -> None:
    stream = EventStream(day.lab)
    stream.start()
    day.shop.connect(day.near)

    os.kill(day.near.pid, 9)

    until(lambda: stream.frame["notes"], "a note")
    assert stream.frame["notes"] == ["The process of inventory-a has ended; the kernel closed its sockets."]
    assert stream.frame["live"]
    stream.stop()


def test_the_end_of_the_lab_ends_the_thread_and_is_said(day: Shop) -> None:
    stream = EventStream(day.lab)
    stream.start()
    day.shop.connect(day.near).close()
    until(lambda: stream.frame["total"] == 4, "events")

    day.lab.close()

    until(lambda: not threads(), "the thread ends")
    assert stream.frame["state"].startswith("The lab is closed: these are the last events of it.")
    assert (stream.frame["total"], stream.frame["lost"], stream.frame["live"]) == (4, 0, False)
    assert "The lab is closed" in stream.html()
    stream._heard({"do": "live", "on": True, "message": 1})
    assert "this lab is closed" in stream.frame["error"]
    with pytest.raises(km.LabError, match="this lab is closed"):
        EventStream(day.lab)


def test_a_stream_does_not_keep_a_lab_that_nobody_else_holds() -> None:
    lab = km.Lab()
    lab.node("n1")
    stream = EventStream(lab)
    stream.start()
    held = weakref.ref(lab)

    del lab
    gc.collect()

    until(lambda: held() is None and not threads(), "the lab and the thread go")
    assert stream.frame["state"].startswith("The lab is closed")
    with pytest.raises(km.LabError, match="this lab is closed"):
        stream.start()


def test_the_end_of_the_lab_ends_a_run(day: Shop) -> None:
    stream = EventStream(day.lab)
    timer = threading.Timer(0.2, day.lab.close)
    timer.start()

    stream.run(60)

    timer.join()
    assert stream.frame["closed"]
    assert threads() == []


def test_a_page_that_opens_after_the_end_of_the_lab_says_so(day: Shop) -> None:
    stream = EventStream(day.lab)
    day.lab.close()

    stream._heard({"do": "open", "message": 1})

    assert stream.frame["state"].startswith("The lab is closed")
    assert (stream.frame["error"], threads()) == ("", [])


def test_nonsense_from_the_page_is_an_answer_and_no_traceback(day: Shop) -> None:
    stream = EventStream(day.lab)
    for wish in (
        {"do": "show", "text": "", "kind": EVIL, "side": ""},
        {"do": "show"},
        {"do": "live"},
    ):
        stream._heard({**wish, "message": 1})
        assert stream.frame["error"], wish
    assert "<img" not in stream.html()
    stream._heard({"do": "pause", "at": EVIL, "message": 2})
    assert (stream.frame["error"], stream.frame["paused"]) == ("", True)
    stream._heard("no dict")
    stream._heard({"do": "fly"})


def test_names_are_escaped_in_the_static_form(day: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream.SeenEvent, "_who", lambda seen, address: [EVIL, EVIL])  # a lab refuses such names
    stream = EventStream(day.lab)
    day.shop.connect(day.near).close()
    drawn(stream, 4)

    stream.show(EVIL)

    html = stream.html()
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


NOTEBOOK = """
import kmesh_lab as km
from kmesh_lab.exercises import connecting
from kmesh_lab.widgets.event_stream import EventStream
lab = km.Lab()
n1 = lab.node("n1", "cn-west/xian/a")
shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
lab.apply(inventory, [near])
stream = EventStream(lab)
with connecting(shop, inventory):
    stream.run(0.3)
stream
"""


def test_a_notebook_without_a_browser_ends_and_keeps_the_events() -> None:
    sources = (NOTEBOOK, "lab.close()")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])

    NotebookClient(notebook, timeout=30, kernel_name="python3").execute()

    shown = notebook.cells[0].outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "inventory-a 10.244.1.2:8080" in shown["text/html"]
    assert shown["text/plain"].startswith("<EventStream: ")
    assert "left behind: nothing" in notebook.cells[1].outputs[0].data["text/plain"]

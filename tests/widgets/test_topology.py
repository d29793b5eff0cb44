"""Topology without a browser: what it draws of real connects, and what it says when things end."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace

import nbformat
import pytest
from nbclient import NotebookClient

import kmesh_lab as km
from kmesh_lab.widgets import Topology
from tests.lab.conftest import Shop, open_shop

pytestmark = pytest.mark.root

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def day() -> Iterator[Shop]:
    with km.Lab() as lab:
        yield open_shop(lab)


@pytest.fixture
def view(day: Shop) -> Iterator[Topology]:
    view = Topology(day.lab)
    yield view
    view.close()


def rows(view: Topology) -> dict[str, tuple[int, int, str]]:
    return {row["name"]: (row["chosen"], row["open"], row["state"]) for row in view.frame["rows"]}


def text(view: Topology) -> str:
    return str(view.frame["picture"]["at"]["aria-label"])


def parts(view: Topology) -> list[str]:
    return [shape["part"] for shape in view.frame["picture"]["in"]]


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def threads() -> int:
    return sum("Topology" in thread.name for thread in threading.enumerate())


def test_a_run_draws_every_connection_it_made_and_who_was_chosen(day: Shop, view: Topology) -> None:
    held = view.run(lambda: [day.shop.connect(day.inventory, 80) for _ in range(3)])

    assert [c.backend for c in held] == [day.near] * 3
    assert rows(view) == {"inventory-a": (3, 3, "in"), "inventory-b": (0, 0, "in")}
    assert view.frame["rows"][0]["by"] == ["n1: priority 0, 3 ×"]
    assert text(view).endswith(". shop asked for 10.96.0.10:80 and reached inventory-a, 3 times.")
    assert view.frame["last"][0] == {
        "client": "shop",
        "asked": "inventory.shop 10.96.0.10:80",
        "chosen": "inventory-a",
        "by": "n1: priority 0",
        "state": "open",
    }
    assert "pod reached" in parts(view)
    assert repr(view) == "<Topology 2 nodes, 3 pods, 1 service: 3 connections open>"
    assert threads() == 0


def test_a_picture_drawn_while_a_message_is_handled_does_not_say_that_it_was(
    view: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def handle(**_: object) -> None:
        view._draw()
        drawn.append(view.frame["heard"])

    monkeypatch.setattr(view, "on_show", handle)
    view._heard({"do": "show", "message": 7})

    assert (drawn, view.frame["heard"]) == ([0], 7)


def test_a_connection_that_is_closed_stays_in_the_picture_of_its_run_and_leaves_the_next(
    day: Shop, view: Topology
) -> None:
    view.run(lambda: day.shop.connect(day.inventory, 80).close())
    assert "reached inventory-a, not open now" in text(view)
    assert "way gone" in parts(view)

    view.run(lambda: None)
    assert "asked for" not in text(view)
    assert rows(view)["inventory-a"] == (1, 0, "in")
    view.clear()
    assert rows(view)["inventory-a"] == (0, 0, "in")


def test_counting_begins_with_what_is_open(day: Shop) -> None:
    day.shop.connect(day.inventory, 80).close()
    held = day.shop.connect(day.inventory, 80)
    view = Topology(day.lab)
    assert (view.frame["open"], rows(view)["inventory-a"], view.frame["last"]) == (1, (1, 1, "in"), [])
    view.run(lambda: day.shop.connect(day.inventory, 80).close())
    assert rows(view)["inventory-a"] == (2, 1, "in")
    view.clear()
    assert rows(view)["inventory-a"] == (1, 1, "in")
    held.close()
    view.refresh()
    assert (view.frame["open"], rows(view)["inventory-a"]) == (0, (1, 0, "in"))


def test_each_node_chooses_by_its_own_maps(day: Shop, view: Topology) -> None:
    visitor = day.lab.pod("visitor", day.n2)
    third = day.lab.node("n3", "cn-east/xian/a")
    stranger = day.lab.pod("stranger", third)

    view.run(lambda: [pod.connect_many(day.inventory, count=20) for pod in (day.shop, visitor, stranger)])

    by = {row["name"]: row["by"] for row in view.frame["rows"]}
    assert "n1: priority 0, 20 ×" in by["inventory-a"]
    assert "n2: priority 0, 20 ×" in by["inventory-b"]
    assert sum(row["chosen"] for row in view.frame["rows"]) == 60
    assert any(line.startswith("n3: priority 3") for line in by["inventory-a"] + by["inventory-b"])
    view.show(visitor)
    assert {row["name"]: row["chosen"] for row in view.frame["rows"]} == {"inventory-a": 0, "inventory-b": 20}
    assert {each["client"] for each in view.frame["last"]} <= {"visitor"}
    with pytest.raises(km.LabError, match="no pod 'nobody' in this lab; there is shop, inventory-a"):
        view.show("nobody")


def test_an_endpoint_that_is_out_and_a_pod_that_ended_are_marked(day: Shop, view: Topology) -> None:
    day.lab.apply(day.inventory, [replace(day.near.workload, healthy=False), day.far])
    held = view.run(lambda: day.shop.connect(day.inventory, 80))
    assert rows(view) == {"inventory-a": (0, 0, "out"), "inventory-b": (1, 1, "in")}
    assert "pod out" in parts(view)
    assert "inventory-a (out)" in text(view)

    os.kill(day.far.pid, signal.SIGKILL)
    wait_for(lambda: not day.far.alive)
    view.refresh()
    assert rows(view)["inventory-b"][2] == "its process has ended"
    assert {"pod ended", "pod ended reached"} & set(parts(view))  # the kernel may have ended the connection, too
    held.close()


def test_a_connect_for_which_nobody_is_left_is_told_with_the_programs_words(day: Shop, view: Topology) -> None:
    day.lab.apply(day.inventory, [])

    with pytest.raises(OSError, match="EHOSTUNREACH"):
        view.run(lambda: day.shop.connect(day.inventory, 80))

    assert view.frame["rows"][0]["state"] == "nobody was left to choose"
    assert view.frame["last"][0]["chosen"].startswith("connect(2) goes on to 10.96.0.10:80, because")
    assert view.frame["last"][0]["state"] == "not established"
    assert "✕ nobody chosen" in str(view.frame["picture"])


def test_a_pod_that_is_deleted_stays_listed_as_what_was_chosen_and_has_no_connection(day: Shop, view: Topology) -> None:
    held = view.run(lambda: day.shop.connect(day.inventory, 80))
    day.lab.delete(day.near)
    view.refresh()
    assert not held.closed
    assert rows(view) == {"inventory-a": (1, 0, "no endpoint any more"), "inventory-b": (0, 0, "in")}
    assert (view.frame["open"], view.frame["last"][0]["state"]) == (0, "closed")


def test_a_pod_that_is_no_endpoint_any_more_keeps_its_connections(day: Shop, view: Topology) -> None:
    held = view.run(lambda: day.shop.connect(day.inventory, 80))
    day.lab.apply(day.inventory, [day.far])
    view.refresh()
    assert not held.closed
    assert rows(view)["inventory-a"] == (1, 1, "no endpoint any more")


def test_ten_thousand_endpoints_and_many_services_are_a_picture_of_the_same_size(day: Shop, view: Topology) -> None:
    pods = [km.Workload(f"w-{i}", f"10.245.{i // 250}.{i % 250 + 1}", node="n9", locality="x/y") for i in range(10_000)]
    services = {km.Service(f"s{i}.shop", f"10.96.1.{i}", {80: 8080}): [day.near] if i < 5 else [] for i in range(1, 20)}
    day.lab.apply({km.Service("many.shop", "10.96.2.1", {80: 8080}): [*pods, day.near], **services})

    view.refresh()

    assert rows(view)["inventory-a"] == (0, 0, "in")
    assert len(view.frame["rows"]) == 2 + 20 + 1 + 4
    assert len(str(view.frame)) < 40_000
    assert "inventory.shop at 10.96.0.10: inventory-a, inventory-b; many.shop at 10.96.2.1: w-0, w-1, " in text(view)
    assert "w-29 and 9,971 more; " in text(view)
    assert text(view).endswith("and 15 more.")


def test_behind_a_waypoint_both_hops_are_drawn(day: Shop, view: Topology) -> None:
    waypoint = day.lab.waypoint("waypoint", day.n2)
    day.lab.apply(day.inventory, [day.near, day.far], waypoint=waypoint)

    with view.run(lambda: day.shop.connect(day.inventory, 80)) as c:
        view.run(lambda: c.get("/stock/42"))
        assert "shop asked for 10.96.0.10:80 and reached waypoint" in text(view)
        assert "waypoint asked for 10.244." in text(view)
        assert "outside the mesh" in text(view)
        assert rows(view)["waypoint"] == (1, 1, "the waypoint, which chooses")


def test_joining_the_mesh_is_no_traffic_and_an_exception_keeps_the_picture(day: Shop, view: Topology) -> None:
    def work() -> None:
        day.shop.enroll(False)
        day.shop.enroll()
        day.shop.connect(day.inventory, 80).close()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        view.run(work)

    assert [each["asked"] for each in view.frame["last"]] == ["inventory.shop 10.96.0.10:80"]
    assert threads() == 0


def test_live_draws_at_most_ten_pictures_a_second_and_loses_no_connect(day: Shop, view: Topology) -> None:
    drawn: list[float] = []
    view.observe(lambda change: drawn.append(time.monotonic()), "frame")
    view.start()
    begin = time.monotonic()
    day.shop.connect_many(day.inventory, count=1000)
    wait_for(lambda: rows(view)["inventory-a"][0] == 1000)
    took = time.monotonic() - begin
    view.stop()

    assert view.frame["lost"] == 0
    assert len(drawn) <= 10 * took + 4  # and those of start and stop


def test_nothing_new_is_no_message(day: Shop, view: Topology) -> None:
    view.start()
    day.shop.connect(day.inventory, 80).close()
    wait_for(lambda: rows(view)["inventory-a"][0] == 1 and "way gone" not in parts(view))
    drawn: list[object] = []
    view.observe(drawn.append, "frame")
    time.sleep(0.5)
    assert drawn == []


def test_only_one_view_is_live_and_a_closed_lab_is_said(day: Shop, view: Topology) -> None:
    second = Topology(day.lab)
    view._heard({"do": "open"})
    second._heard({"do": "open"})
    assert (threads(), view.frame["live"], second.frame["live"]) == (1, False, True)
    assert view.frame["state"] == "Paused: another Topology is live now."

    held = second.run(lambda: day.shop.connect(day.inventory, 80))
    day.lab.close()
    wait_for(lambda: threads() == 0)
    assert held.closed
    assert second.frame["state"].startswith("The lab is closed: this is the last picture.")
    assert (second.frame["live"], rows(second)["inventory-a"][0]) == (False, 1)
    assert "The lab is closed" in second.html()
    assert repr(second) == "<Topology: the lab is closed>"
    with pytest.raises(km.LabError, match="this lab is closed"):
        Topology(day.lab)
    second.close()


def test_a_view_does_not_keep_a_lab_that_nobody_else_holds() -> None:
    lab = km.Lab()
    shop = open_shop(lab)
    cgroup, view = shop.lab._ground.cgroup, Topology(lab)
    view.start()
    gone = weakref.ref(lab)
    del lab, shop
    gc.collect()
    wait_for(lambda: gone() is None and threads() == 0)
    assert not cgroup.exists()
    assert view.frame["state"].startswith("The lab is closed")
    view.close()


def test_a_lab_without_the_trace_is_refused() -> None:
    with km.Lab(trace=False) as lab:
        lab.node("n1")
        with pytest.raises(km.LabError, match="this lab runs without the decision trace"):
            Topology(lab)


def test_nonsense_from_the_page_is_ignored(day: Shop, view: Topology) -> None:
    for wish in ({"do": "show"}, {"do": "show", "pod": EVIL}, {"do": "fly"}, {"do": "live"}, "no dict", {}):
        view._heard(wish)
    assert view.frame["only"] == ""


def test_the_static_form_says_the_same_and_escapes_names(day: Shop, view: Topology) -> None:
    evil = km.Service("evil.shop", "10.96.0.66", {80: 8080})
    object.__setattr__(evil, "name", EVIL)  # km.Service refuses such a name
    day.lab.apply(evil, [day.near, km.Workload(EVIL, "10.244.9.9", node=EVIL, locality="<b>")])

    held = view.run(lambda: day.shop.connect(day.inventory, 80))

    html = view.html()
    assert not held.closed
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 3
    for said in ("<svg", "1 connection open.", "n1: priority 0, 1 ×", "shop asked for 10.96.0.10:80", "<td>open</td>"):
        assert said in html


NOTEBOOK = """
import kmesh_lab as km
from kmesh_lab.widgets import Topology
lab = km.Lab()
n1 = lab.node("n1", "cn-west/xian/a")
shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
lab.apply(inventory, [near])
view = Topology(lab)
held = view.run(lambda: [shop.connect(inventory, 80) for _ in range(3)])
view
"""


def test_a_notebook_without_a_browser_ends_with_the_last_picture() -> None:
    sources = (NOTEBOOK, "view.start()", "lab.close()")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])

    NotebookClient(notebook, timeout=30, kernel_name="python3").execute()

    shown = notebook.cells[0].outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "reached inventory-a, 3 times" in shown["text/html"]
    assert shown["text/plain"] == "<Topology 1 node, 2 pods, 1 service: 3 connections open>"
    assert "left behind: nothing" in notebook.cells[2].outputs[0].data["text/plain"]

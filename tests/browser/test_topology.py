"""Topology in a browser: connections appear as they are made, every control by mouse and by keyboard, and what ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook

pytestmark = [pytest.mark.root, pytest.mark.browser, pytest.mark.timeout(300)]

SHOP = """
import kmesh_lab as km
from kmesh_lab.widgets.topology import Topology
lab = km.Lab()
n1 = lab.node("n1", locality="cn-west/xian/a")
n2 = lab.node("n2", locality="cn-west/xian/b")
n3 = lab.node("n3", locality="cn-east/xian/a")
shop, visitor = lab.pod("shop", n1), lab.pod("visitor", n2)
near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
failover = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, failover)
lab.apply(inventory, [near, far])
view = Topology(lab)
view
"""
MANY = "held = [pod.connect(inventory, 80) for pod in (shop, shop, shop, visitor)]"
THREADS = "sum('Topology' in t.name for t in __import__('threading').enumerate())"

Open = Callable[[Sequence[str]], Notebook]


@pytest.fixture
def topology(open_cells: Open) -> tuple[Notebook, Locator]:
    notebook = open_cells([SHOP])
    notebook.page.set_viewport_size({"width": 1280, "height": 1300})
    notebook.run_all()
    shown = notebook.page.locator(".kl-topology")
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()
    return notebook, shown


def do(notebook: Notebook, statement: str) -> None:
    """Run a statement in the notebook's kernel."""
    assert notebook.ask(f"exec({statement!r}, globals())") == "None"


def row(shown: Locator, table: str, text: str) -> Locator:
    return shown.get_by_role("table", name=table).get_by_role("row").filter(has_text=text)


def test_connections_are_drawn_as_they_happen(topology: tuple[Notebook, Locator]) -> None:
    notebook, shown = topology
    picture, status = shown.get_by_role("img"), shown.get_by_role("status")
    expect(shown.locator("path.kl-way")).to_have_count(0)

    do(notebook, MANY)

    expect(shown.get_by_text("4 connections open", exact=True)).to_be_visible()
    expect(shown.locator("path.kl-way.kl-open")).to_have_count(4)  # asked for and connected, of each client
    expect(picture).to_have_accessible_name(re.compile("shop asked for 10.96.0.10:80 and reached inventory-a, 3 times"))
    expect(row(shown, "Chosen", "inventory-a")).to_contain_text("n1: priority 0, 3 ×")
    expect(row(shown, "Chosen", "inventory-b")).to_contain_text("n2: priority 0, 1 ×")
    expect(row(shown, "last connects", "visitor")).to_contain_text("inventory.shop10.96.0.10:80")
    expect(status).to_contain_text("4 connections open. Last: visitor asked for inventory.shop")
    notebook.pictures(shown, "topology")

    do(notebook, "held.pop().close()")
    expect(shown.get_by_text("3 connections open", exact=True)).to_be_visible()
    expect(row(shown, "last connects", "visitor")).to_contain_text("closed")
    do(notebook, "from dataclasses import replace; lab.apply(inventory, [replace(near.workload, healthy=False), far])")
    expect(row(shown, "Chosen", "inventory-a")).to_contain_text("✕ out")
    do(notebook, "held.append(shop.connect(inventory, 80))")
    expect(row(shown, "Chosen", "inventory-b")).to_contain_text("n1: priority 1, 1 ×")
    notebook.pictures(shown, "topology-out")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_every_control_works_by_keyboard_and_mouse_and_reaches_the_kernel(
    topology: tuple[Notebook, Locator],
) -> None:
    notebook, shown = topology
    page, cells = notebook.page, notebook.page.locator(".jp-Cell").count()
    do(notebook, MANY)
    expect(row(shown, "Chosen", "inventory-a")).to_contain_text("n1: priority 0, 3 ×")

    only = shown.get_by_label("Connects of")
    only.focus()
    page.keyboard.type("v")  # visitor
    expect(row(shown, "Chosen", "inventory-a")).not_to_contain_text("3 ×")
    expect(row(shown, "Chosen", "inventory-b")).to_contain_text("1 ×")
    expect(shown.locator("path.kl-way.kl-open")).to_have_count(2)
    assert notebook.ask("view.frame['only']") == "visitor"
    shown.locator("rect.kl-only").click()  # the pod in the picture: once more, so all again
    expect(only).to_have_value("")
    assert notebook.ask("view.frame['only']") == ""
    shown.locator("rect.kl-pod").filter(has_text="shop").first.click()
    expect(only).to_have_value("shop")
    only.select_option("")

    shown.get_by_role("button", name="Start counting anew").press("Enter")
    expect(row(shown, "last connects", "None since")).to_be_visible()
    expect(shown.get_by_text("4 connections open", exact=True)).to_be_visible()
    assert notebook.ask("view.frame['rows'][0]['chosen'], view.frame['rows'][0]['open']") == "(3, 3)"

    live = shown.get_by_role("switch", name="Live")
    live.press("Space")
    expect(live).not_to_be_checked()
    assert notebook.ask(THREADS) == "0"
    do(notebook, "held.pop().close()")
    page.wait_for_timeout(400)
    expect(shown.get_by_text("4 connections open", exact=True)).to_be_visible()
    live.click()
    expect(shown.get_by_text("3 connections open", exact=True)).to_be_visible()
    assert notebook.ask(THREADS) == "1"
    for key in "bdd":  # in command mode a new cell, and the end of this one
        page.keyboard.press(key)
        assert page.locator(".jp-Cell").count() == cells
    assert (notebook.outside, notebook.errors) == ([], [])


def test_a_connect_without_an_endpoint_and_a_waypoint_are_drawn(topology: tuple[Notebook, Locator]) -> None:
    notebook, shown = topology
    do(notebook, "gate = lab.waypoint('waypoint', n3); lab.apply(inventory, [near, far], waypoint=gate)")
    do(notebook, "c = shop.connect(inventory, 80); c.get('/stock/42')")
    expect(shown.locator("rect.kl-waypoint.kl-reached")).to_be_visible()
    expect(row(shown, "last connects", "waypoint").first).to_contain_text("let through")
    notebook.pictures(shown, "topology-waypoint")
    do(notebook, "lab.apply(inventory, [])")
    assert notebook.ask("visitor.connect_many(inventory, count=3).refused") == "{'EHOSTUNREACH': 3}"
    expect(row(shown, "Chosen", "nobody")).to_contain_text("nobody was left to choose")
    expect(row(shown, "last connects", "visitor").first).to_contain_text("connect(2) goes on to 10.96.0.10:80")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_what_ends_is_said_on_the_page(topology: tuple[Notebook, Locator]) -> None:
    notebook, shown = topology
    notebook.run_all()  # another lab and another view in place of the first
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()
    assert notebook.ask(THREADS) == "1"

    do(notebook, MANY)
    notebook.ask("__import__('os').kill(near.pid, 9)")
    expect(row(shown, "Chosen", "inventory-a")).to_contain_text("its process has ended")
    expect(shown.locator("rect.kl-pod.kl-ended")).to_have_count(1)
    notebook.ask("lab.close()")
    state = shown.locator(".kl-state")
    expect(state).to_contain_text("The lab is closed: this is the last picture.")
    expect(shown.get_by_role("switch", name="Live")).to_be_disabled()
    assert notebook.ask(THREADS) == "0"
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(state).to_contain_text("The kernel was restarted or has ended", timeout=30_000)
    assert (notebook.outside, notebook.errors) == ([], [])


def test_a_kernel_that_is_restarted_while_connections_come_leaves_the_last_picture(open_cells: Open) -> None:
    notebook = open_cells([SHOP])
    notebook.run_all()
    shown = notebook.page.locator(".kl-topology")
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()
    do(notebook, MANY)
    do(notebook, "loop = shop.process.request('loop_start', address='10.96.0.10', port=80, pause=0.01)")
    expect(row(shown, "Chosen", "inventory-a")).to_contain_text("priority 0")
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(shown.locator(".kl-state")).to_contain_text("The kernel was restarted or has ended", timeout=30_000)
    expect(shown.get_by_label("Connects of")).to_be_disabled()
    expect(row(shown, "Chosen", "inventory-a")).to_contain_text("priority 0")
    assert (notebook.outside, notebook.errors) == ([], [])


EVIL = "<img src=x onerror=window.ran=1>"


def test_names_are_text(open_cells: Open) -> None:
    evil = [
        "evil = km.Service('evil.shop', '10.96.0.66', {80: 8080})",
        f"object.__setattr__(evil, 'name', {EVIL!r})  # km.Service refuses such a name",
        f"lab.apply(evil, [near, km.Workload({EVIL!r}, '10.244.9.9', node={EVIL!r}, locality='<b>x')])",
    ]
    notebook = open_cells([SHOP, "\n".join(evil), "from IPython.display import HTML; HTML(view.html())"])
    notebook.run_all()
    shown = notebook.page.locator(".kl-topology")
    expect(row(shown, "Chosen", EVIL).first).to_be_visible()
    expect(shown.locator("text.kl-name").filter(has_text=EVIL)).to_be_visible()
    assert notebook.page.locator("img[src='x']").count() == 0
    assert notebook.page.evaluate("() => window.ran") is None
    assert (notebook.outside, notebook.errors) == ([], [])

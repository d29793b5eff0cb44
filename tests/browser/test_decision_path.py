"""DecisionPath in a real JupyterLab: stepping with the mouse and with the keyboard, and what a reader sees of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

OpenCells = Callable[[Sequence[str]], Notebook]

SHOP = """
import kmesh_lab as km
from kmesh_lab.widgets.decision_path import DecisionPath

lab = km.Lab()
n1 = lab.node("n1", locality="cn-west/xian/a")
n2 = lab.node("n2", locality="cn-west/xian/b")
shop = lab.pod("shop", node=n1)
near = lab.pod("inventory-a", node=n1, listen=8080)
far = lab.pod("inventory-b", node=n2, listen=8080)
nearest = km.LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE", "SUBZONE"])
inventory = km.Service("inventory.shop", vip="10.96.0.10", ports={80: 8080}, load_balancing=nearest)
lab.apply(inventory, endpoints=[near, far])
"""
PATH = "DecisionPath(shop.connect(inventory, 80))"
WAYPOINT = """
lab.apply(inventory, endpoints=[near, far], waypoint=lab.waypoint("waypoint", node=n1))
c = shop.connect(inventory, 80)
c.get("/stock/42")
c.close()
DecisionPath(c)
"""
HOSTILE = """
from kmesh_lab.datapath.decision import Decision, Step
name = lambda number: "<img src=x onerror=alert(1)>"
DecisionPath(Decision((Step("FRONTEND", 0, 1, 0, 0, 7, 0, 0, None, None, name),)))
"""

# What has less contrast with its ground than WCAG 2 (1.4.3) asks of text: [contrast, class, text].
FAINT = """(root) => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const paint = (colours) => {  // bottom to top; the browser knows every notation
        for (const colour of ["white", ...colours]) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const found = [];
    for (const element of root.querySelectorAll("*")) {
        if (element.closest("[aria-hidden=true], [aria-disabled=true]")) continue;
        const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join("");
        if (!text || element.getBoundingClientRect().width < 2) continue;
        const grounds = [];
        for (let e = element; e; e = e.parentElement) grounds.unshift(getComputedStyle(e).backgroundColor);
        const [a, b] = [paint([...grounds, getComputedStyle(element).color]), paint(grounds)].map(light);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) found.push([contrast.toFixed(2), element.className, text.slice(0, 30)]);
    }
    return found;
}"""


def opened(open_cells: OpenCells, *cells: str) -> tuple[Notebook, Locator]:
    notebook = open_cells([SHOP, *cells, "lab.close()"])
    notebook.page.set_viewport_size({"width": 1280, "height": 1400})
    notebook.run_all()
    view = notebook.page.locator(".kl-dp").first
    view.wait_for()
    return notebook, view


def test_a_reader_steps_with_the_mouse_and_sees_row_and_c_of_each_step(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells, PATH)
    detail = view.get_by_role("region", name="The step")
    expect(view.locator(".kl-dp-heading")).to_have_text("shop asks for 10.96.0.10:80 → inventory-a 10.244.1.2:8080")
    expect(detail).to_contain_text("connect(2) to 10.96.0.10:80")

    view.get_by_role("button", name="Step forward").click()
    view.get_by_role("button", name="Step forward").click()

    expect(view.get_by_text("step 3 of 8", exact=True)).to_be_visible()
    expect(detail).to_contain_text("inventory.shop, policy FAILOVER")
    expect(detail).to_contain_text("km_service")
    expect(detail.get_by_role("row", name="service_port")).to_contain_text("00\u00a050\u00a000\u00a000")
    expect(detail.locator(".kl-dp-reported")).to_contain_text("trace_lookup(kctx->cookie, KL_SERVICE")
    expect(view.get_by_role("status")).to_have_text("Step 3 of 8, service: inventory.shop, policy FAILOVER")
    expect(view.locator("[aria-current=step]")).to_have_accessible_name(
        "Step 3, service: inventory.shop, policy FAILOVER"
    )
    branches = view.get_by_role("list", name="Branches at service")
    expect(branches.get_by_role("listitem").filter(has_text="FAILOVER")).to_have_text("●FAILOVER, taken")
    expect(branches.get_by_role("listitem").filter(has_text="would be a pod")).to_contain_text(", not taken")
    notebook.pictures(view, "decision-path")

    view.get_by_role("button", name="Step 6, dnat").click()
    expect(detail).to_contain_text("service port becomes 10.244.1.2:8080")
    view.get_by_role("button", name="Step back").click()
    expect(view.get_by_text("step 5 of 8", exact=True)).to_be_visible()
    assert (notebook.outside, notebook.errors) == ([], [])


def test_the_keyboard_steps_and_no_key_reaches_the_notebook(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells, PATH)
    page, cells = notebook.page, notebook.page.locator(".jp-Cell").count()
    first = view.get_by_role("button", name="Step 1, connect")
    first.focus()

    for key, step in (
        ("ArrowRight", 2),
        ("ArrowRight", 3),
        ("ArrowLeft", 2),
        ("End", 8),
        ("ArrowRight", 8),
        ("Home", 1),
    ):
        page.keyboard.press(key)
        expect(view.get_by_text(f"step {step} of 8", exact=True)).to_be_visible()
        expect(page.locator(":focus")).to_have_attribute("aria-current", "step")

    for key in ("a", "b", "x", "d", "d", "Enter", "0", "0"):
        page.keyboard.press(key)
        assert page.locator(".jp-Cell").count() == cells, key
    page.keyboard.press("Shift+Tab")
    expect(page.locator(":focus")).to_have_accessible_name("Last step")
    page.keyboard.press("Enter")
    expect(view.get_by_text("step 8 of 8", exact=True)).to_be_visible()
    assert (notebook.outside, notebook.errors) == ([], [])


def test_a_waypoint_is_a_siding_and_the_tail_call_leads_to_a_second_pass(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells, WAYPOINT)

    expect(view.locator(".kl-dp-pass")).to_have_count(2)
    expect(view.locator(".kl-dp-lane-side .kl-dp-name")).to_have_text("waypoint")
    expect(view.locator(".kl-dp-unvisited .kl-dp-name")).to_have_text(["endpoint", "backend", "dnat"])
    expect(view.get_by_role("button", name="tail call")).to_contain_text("the program starts again")
    view.get_by_role("button", name="tlv").click()
    expect(view.get_by_role("region", name="The step")).to_contain_text(
        "16 bytes in front of the payload: 10.96.0.10:80"
    )
    notebook.pictures(view, "decision-path-waypoint")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_stepping_goes_on_when_the_kernel_is_gone(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells, PATH)
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    view.get_by_role("button", name="Last step").click()

    expect(view.get_by_role("status")).to_have_text("Step 8 of 8, established: connected")
    assert notebook.errors == []


def test_names_are_text(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells, HOSTILE)

    expect(view.get_by_role("region", name="The step")).to_contain_text("leads to <img src=x onerror=alert(1)>")
    assert notebook.page.locator(".jp-OutputArea-output img").count() == 0
    assert (notebook.outside, notebook.errors) == ([], [])


def faint(notebook: Notebook, *views: Locator) -> dict[str, list[str]]:
    """What is hard to read, by theme; the light theme stays."""
    return {theme: [text for view in views for text in view.evaluate(FAINT)] for theme in notebook.themes()}

"""MapInspector in a browser: tabs, search, pages, edits and what the kernel's maps say afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook

pytestmark = [pytest.mark.root, pytest.mark.browser, pytest.mark.timeout(300)]

SHOP = """
import kmesh_lab as km
from kmesh_lab.widgets.map_inspector import MapInspector
lab = km.Lab()
n1 = lab.node("n1", locality="cn-west/xian/a")
n2 = lab.node("n2", locality="cn-west/xian/b")
shop = lab.pod("shop", n1)
near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
failover = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, failover)
apply = lambda: lab.apply(inventory, [near, far])
apply()
inspector = MapInspector(n1, repair=apply)
import kmesh_lab.widgets.map_table
kmesh_lab.widgets.map_table._MARKED = 60  # not 3 s: on a busy machine the browser looks late
inspector
"""

Open = Callable[[Sequence[str]], Notebook]


@pytest.fixture
def maps(open_cells: Open) -> tuple[Notebook, Locator]:
    notebook = open_cells([SHOP])
    notebook.run_all()
    shown = notebook.page.locator(".kl-maps")
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()
    return notebook, shown


def row(shown: Locator, text: str) -> Locator:
    return shown.locator(".kl-scroll > table > tbody > tr:not(.kl-open)").filter(has_text=text)


def test_a_change_shows_at_once_and_in_words(maps: tuple[Notebook, Locator]) -> None:
    notebook, shown = maps
    shown.get_by_role("tab", name="service").click()
    expect(row(shown, "inventory.shop")).to_contain_text("FAILOVER")
    notebook.ask("lab.apply(km.Service('inventory.shop', '10.96.0.10', {80: 8080}), [near, far])")
    expect(row(shown, "inventory.shop")).to_contain_text("RANDOM")
    expect(row(shown, "inventory.shop").locator(".kl-badge")).to_have_text("changed")
    row(shown, "inventory.shop").get_by_role("button").click()
    notebook.pictures(shown, "map-inspector-service")
    shown.get_by_role("tab", name="frontend").click()
    expect(row(shown, "10.96.0.10")).to_be_visible()
    notebook.pictures(shown, "map-inspector")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_an_edit_and_a_deletion_by_keyboard_are_the_kernels(maps: tuple[Notebook, Locator]) -> None:
    notebook, shown = maps
    shown.get_by_role("button", name="Edit row 10.96.0.10").press("Enter")
    field = shown.get_by_label("Leads to (name or id)")
    field.fill("nobody")
    field.press("Enter")
    expect(shown.get_by_role("alert").filter(has_text="nothing on this node is called 'nobody'")).to_be_visible()
    expect(field).to_have_value("nobody")  # nothing lost
    notebook.pictures(shown, "map-inspector-error")
    field.fill("inventory-b")
    field.press("Enter")
    expect(shown.get_by_text("row written")).to_be_visible()
    expect(row(shown, "10.96.0.10")).to_contain_text("inventory-b")
    expect(row(shown, "10.96.0.10")).to_contain_text("changed")
    assert notebook.ask("n1.maps.frontend['10.96.0.10'] == n1.maps.id_of(far)") == "True"
    assert notebook.ask("shop.connect_many('10.96.0.10', 80, count=1).refused") == "{'EHOSTUNREACH': 1}"

    shown.get_by_role("button", name="Delete row").press("Enter")
    expect(row(shown, "10.96.0.10")).to_contain_text("deleted")
    assert notebook.ask("len(n1.maps.frontend)") == "3"
    shown.get_by_role("button", name="Undo").press("Enter")
    expect(row(shown, "10.96.0.10")).to_contain_text("inventory-b")
    shown.get_by_role("button", name="Apply again").press("Enter")
    expect(row(shown, "10.96.0.10")).to_contain_text("inventory.shop")
    assert notebook.ask("shop.connect_many(inventory, count=5)") == "<Connects 5: inventory-a 5>"
    assert (notebook.outside, notebook.errors) == ([], [])


def test_a_row_that_changed_while_it_was_edited_is_not_overwritten(maps: tuple[Notebook, Locator]) -> None:
    notebook, shown = maps
    shown.get_by_role("tab", name="frontend").press("ArrowRight")
    expect(shown.get_by_role("tab", name="service")).to_be_focused()
    shown.get_by_role("button", name="Edit row inventory.shop").click()
    shown.get_by_label("Policy").select_option("STRICT")
    shown.get_by_label("Priority 0").fill("7")
    notebook.ask("lab.apply(km.Service('inventory.shop', '10.96.0.10', {80: 8080}), [near])")
    expect(shown.get_by_text("This row has changed since you opened it.")).to_be_visible()
    shown.get_by_role("button", name="Write").click()
    expect(shown.get_by_text("look at it again, then save once more")).to_be_visible()
    assert notebook.ask("n1.maps.service[inventory].policy_name") == "RANDOM"
    expect(shown.get_by_label("Priority 0")).to_have_value("7")
    shown.get_by_role("button", name="Write").click()
    expect(shown.get_by_text("row written")).to_be_visible()
    assert (
        notebook.ask("n1.maps.service[inventory].prio_endpoint_count[0], n1.maps.service[inventory].policy") == "(7, 1)"
    )
    assert (notebook.outside, notebook.errors) == ([], [])


MANY = """
many = km.Service("many.shop", "10.96.1.1", {80: 8080})
address = lambda i: f"10.245.{i // 250}.{i % 250 + 1}"
lab.apply(many, [km.Workload(f"w-{i}", address(i), node="n9", locality="x/y") for i in range(10_000)])
"""


def test_ten_thousand_rows_are_paged_and_searched(open_cells: Open) -> None:
    notebook = open_cells([SHOP, MANY])
    notebook.run_all()
    shown = notebook.page.locator(".kl-maps")
    shown.get_by_role("tab", name="backend").click()
    expect(shown.get_by_text("page 1 of 201")).to_be_visible(timeout=20_000)
    first = row(shown, "backend_uid").first.inner_text()
    shown.get_by_role("button", name="Next page").press("Enter")
    expect(shown.get_by_text("page 2 of 201")).to_be_visible(timeout=20_000)
    expect(row(shown, "backend_uid").first).not_to_have_text(first, use_inner_text=True)
    assert row(shown, "backend_uid").count() == 50
    shown.get_by_role("searchbox").fill("10.245.3.77")
    expect(shown.get_by_text("1 of 10,003 rows")).to_be_visible(timeout=20_000)
    expect(row(shown, "w-826")).to_be_visible()
    notebook.pictures(shown, "map-inspector-many")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_what_ends_is_said_on_the_page(maps: tuple[Notebook, Locator]) -> None:
    notebook, shown = maps
    state = shown.locator(".kl-state").last
    threads = "sum('MapInspector' in t.name for t in __import__('threading').enumerate())"
    notebook.run_all()
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()
    assert notebook.ask(threads) == "1"
    shown.get_by_role("switch", name="Live").click()
    expect(shown.get_by_role("switch", name="Live")).not_to_be_checked()
    assert notebook.ask(threads) == "0"
    notebook.ask("lab.delete(inventory)")
    notebook.page.wait_for_timeout(400)
    expect(row(shown, "10.96.0.10")).not_to_contain_text("deleted")
    shown.get_by_role("button", name="Look now").click()
    expect(row(shown, "10.96.0.10")).to_contain_text("deleted")
    shown.get_by_role("switch", name="Live").press("Space")
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()

    notebook.ask("__import__('os').kill(shop.pid, 9)")
    shown.get_by_role("tab", name="manage").click()
    expect(shown.get_by_text("its process has ended").first).to_be_visible()
    notebook.ask("lab.close()")
    expect(state).to_contain_text("The lab is closed: these are the last rows that were read.")
    assert notebook.ask(threads) == "0"
    expect(shown.get_by_role("button", name="Apply again")).to_be_disabled()
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(state).to_contain_text("The kernel was restarted or has ended", timeout=30_000)
    assert (notebook.outside, notebook.errors) == ([], [])


def test_a_second_inspector_of_the_node_pauses_the_first(open_cells: Open) -> None:
    notebook = open_cells([SHOP, "MapInspector(n1)"])
    notebook.run_all()
    first, second = (notebook.page.locator(".kl-maps").nth(i) for i in range(2))
    expect(second.get_by_role("switch", name="Live")).to_be_checked()
    expect(first.locator(".kl-state")).to_contain_text("Paused: another MapInspector of n1 is live now.")
    first.get_by_role("switch", name="Live").click()
    expect(second.locator(".kl-state")).to_contain_text("Paused")
    expect(first.locator(".kl-state")).to_have_text("")


EVIL = "<img src=x onerror=window.ran=1>"


def test_names_are_text(open_cells: Open) -> None:
    bad = f"bad = km.Workload({EVIL!r}, '10.244.9.9', node='n9', locality='<b>x')"
    notebook = open_cells(
        [SHOP, f"{bad}\nlab.apply(inventory, [near, bad])", "from IPython.display import HTML; HTML(inspector.html())"]
    )
    notebook.run_all()
    shown = notebook.page.locator(".kl-maps")
    for name in ("frontend", "endpoint", "backend"):
        shown.get_by_role("tab", name=name).click()
        expect(row(shown, EVIL).first).to_be_visible()
    row(shown, EVIL).get_by_role("button").click()
    shown.get_by_role("tab", name="frontend").click()
    row(shown, "10.96.0.10").get_by_role("button").click()
    shown.get_by_label("Leads to (name or id)").fill("<img src=x onerror=window.ran=2>")
    shown.get_by_role("button", name="Write").click()
    expect(shown.get_by_text("nothing on this node is called '<img src=x onerror=window.ran=2>'")).to_be_visible()
    assert notebook.page.locator("img[src='x']").count() == 0
    assert notebook.page.evaluate("() => window.ran") is None
    assert (notebook.outside, notebook.errors) == ([], [])

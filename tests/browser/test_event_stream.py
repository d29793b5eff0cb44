"""EventStream in a browser: events as they come, the filter, the pause, what was lost, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook
from .test_decision_path import faint

pytestmark = [pytest.mark.root, pytest.mark.browser, pytest.mark.timeout(300)]

SHOP = """
import kmesh_lab as km
from kmesh_lab.exercises import connecting
from kmesh_lab.widgets.event_stream import EventStream
lab = km.Lab()
n1 = lab.node("n1", locality="cn-west/xian/a")
n2 = lab.node("n2", locality="cn-west/xian/b")
shop = lab.pod("shop", n1)
near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
lab.apply(inventory, [near])
stream = EventStream(lab)
stream
"""
START = """(code) => {
    window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code});
}"""
THREADS = "sum('EventStream' in t.name for t in __import__('threading').enumerate())"

Open = Callable[[Sequence[str]], Notebook]


@pytest.fixture
def events(open_cells: Open) -> tuple[Notebook, Locator]:
    notebook = open_cells([SHOP])
    notebook.page.set_viewport_size({"width": 1280, "height": 1100})
    notebook.run_all()
    shown = notebook.page.locator(".kl-ev")
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()
    return notebook, shown


def rows(shown: Locator) -> Locator:
    return shown.locator("tbody tr")


def tile(shown: Locator, name: str) -> Locator:
    return shown.locator(".kl-ev-tile").filter(has_text=name).locator(".kl-ev-number")


def told(notebook: Notebook, code: str, wanted: str) -> None:
    """Wait until the kernel has heard of what was typed."""
    for _ in range(100):
        if notebook.ask(code) == wanted:
            return
        notebook.page.wait_for_timeout(50)
    assert notebook.ask(code) == wanted


def test_events_show_as_they_come_and_the_filter_finds_them(events: tuple[Notebook, Locator]) -> None:
    notebook, shown = events
    expect(shown).to_contain_text("Nothing yet.")

    notebook.ask("shop.connect(inventory, 80).close()")
    notebook.ask("shop.connect(far, 8080).close()")

    expect(rows(shown)).to_have_count(8)
    expect(tile(shown, "events")).to_have_text("8")
    expect(rows(shown).filter(has_text="inventory.shop :80")).to_have_count(2)
    shown.get_by_role("searchbox", name="Filter").fill("inventory-b")
    expect(rows(shown)).to_have_count(4)
    shown.get_by_role("combobox", name="event").select_option("closed")
    expect(rows(shown)).to_have_count(2)
    shown.get_by_role("combobox", name="side").select_option("INBOUND")
    expect(rows(shown)).to_have_count(1)
    expect(rows(shown).first).to_contain_text("○ closed")
    told(notebook, "stream.frame['filter']", "{'text': 'inventory-b', 'kind': 'closed', 'side': 'INBOUND'}")
    notebook.ask("stream.show()")
    expect(shown.get_by_role("searchbox", name="Filter")).to_have_value("")
    expect(rows(shown)).to_have_count(8)
    expect(shown.locator("[aria-live=polite]")).to_contain_text("8 events", timeout=10_000)
    assert (notebook.outside, notebook.errors) == ([], [])


def test_a_pause_by_keyboard_holds_the_rows_while_the_count_goes_on(events: tuple[Notebook, Locator]) -> None:
    notebook, shown = events
    notebook.ask("shop.connect(near).close()")
    expect(rows(shown)).to_have_count(4)

    shown.get_by_role("button", name="Pause").press("Enter")
    notebook.ask("shop.connect_many(near, count=25)")

    expect(shown).to_contain_text("100 since the pause")
    expect(tile(shown, "events")).to_have_text("104")
    expect(rows(shown)).to_have_count(4)
    shown.get_by_role("button", name="Go on").press("Enter")
    expect(rows(shown)).to_have_count(50)
    expect(rows(shown).first).to_contain_text("104")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_the_page_filters_and_pauses_also_while_a_cell_keeps_the_kernel_busy(events: tuple[Notebook, Locator]) -> None:
    notebook, shown = events
    notebook.page.evaluate(START, "with connecting(shop, inventory, pause=0.01):\n    stream.run(8)")
    expect(rows(shown)).to_have_count(50)
    before = rows(shown).first.get_attribute("data-n")
    expect(rows(shown).first).not_to_have_attribute("data-n", str(before))

    shown.get_by_role("button", name="Pause").click()
    held = rows(shown).first.get_attribute("data-n")
    shown.get_by_role("combobox", name="side").select_option("INBOUND")
    expect(shown.locator("tbody").get_by_text("OUTBOUND")).to_have_count(0)
    expect(shown).to_contain_text("the kernel is busy with a cell", timeout=10_000)
    notebook.pictures(shown, "event-stream-paused")

    expect(shown.locator(".kl-ev-note").last).to_be_empty(timeout=20_000)
    expect(shown.get_by_role("button", name="Go on")).to_be_visible()
    assert int(rows(shown).first.get_attribute("data-n") or 0) <= int(held or 0)
    assert notebook.ask("stream.frame['paused'], stream.frame['lost']") == "(True, 0)"
    assert (notebook.outside, notebook.errors) == ([], [])


def test_lost_records_and_a_killed_pod_and_the_end_are_said(events: tuple[Notebook, Locator]) -> None:
    notebook, shown = events
    notebook.ask("shop.connect_many(near, count=100)")
    expect(tile(shown, "events")).to_have_text("400")
    notebook.pictures(shown, "event-stream")
    assert faint(notebook, shown) == {"Dark": [], "Light": []}

    notebook.run_all()
    assert notebook.ask(THREADS) == "1"
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()
    shown.get_by_role("switch", name="Live").press("Space")
    expect(shown.locator(".kl-state").first).to_contain_text("Stopped: what the sockets report now is not seen")
    assert notebook.ask(THREADS) == "0"
    shown.get_by_role("switch", name="Live").press("Space")
    expect(shown.get_by_role("switch", name="Live")).to_be_checked()
    notebook.ask(
        "(stream._feed.stop(), shop.connect_many(near, count=800), stream._feed.__init__('EventStream', "
        "stream, stream._tick, 0.02), stream._feed.start())"
    )  # nobody reads while they connect
    expect(tile(shown, "lost")).to_contain_text("⚠")
    expect(shown).to_contain_text("the ring buffer was full")

    notebook.ask("__import__('os').kill(near.pid, 9)")
    expect(shown).to_contain_text("The process of inventory-a has ended; the kernel closed its sockets.")
    notebook.ask("lab.close()")
    expect(shown.locator(".kl-state").first).to_contain_text("The lab is closed: these are the last events of it.")
    expect(shown.get_by_role("switch", name="Live")).to_be_disabled()
    assert notebook.ask(THREADS) == "0"
    notebook.pictures(shown, "event-stream-closed")
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(shown.locator(".kl-state").first).to_contain_text("The kernel was restarted or has ended", timeout=30_000)
    assert (notebook.outside, notebook.errors) == ([], [])


def test_names_and_payloads_are_text(open_cells: Open) -> None:
    evil = "<img src=x onerror=window.ran=1>"
    notebook = open_cells(
        [
            SHOP,
            "from kmesh_lab.widgets import event_stream",
            f"event_stream.SeenEvent._who = lambda seen, address: [{evil!r}, {evil!r}]",
            f"c = shop.connect(inventory, 80)\nc.send({evil.encode()!r})\nc.close()\nstream.refresh()",
            "from IPython.display import HTML; HTML(stream.html())",
        ]
    )
    notebook.run_all()
    shown = notebook.page.locator(".kl-ev")
    expect(rows(shown).filter(has_text=evil).first).to_be_visible()
    shown.get_by_role("searchbox", name="Filter").fill("<img src=x onerror=window.ran=2>")
    expect(shown).to_contain_text("No event matches the filter.")
    assert notebook.page.locator("img[src='x']").count() == 0
    assert notebook.page.evaluate("() => window.ran") is None
    assert (notebook.outside, notebook.errors) == ([], [])


def test_the_notebook_runs_and_its_stream_says_that_the_lab_is_closed(open_notebook: Callable[[str], Notebook]) -> None:
    notebook = open_notebook("05-what-a-socket-reports")
    notebook.page.set_viewport_size({"width": 1280, "height": 1100})
    notebook.run_all(120)
    shown = notebook.page.locator(".kl-ev")
    expect(tile(shown, "lost")).to_have_text("0")
    expect(shown.locator(".kl-state").first).to_contain_text("The lab is closed")
    assert "left behind" in notebook.text()
    shown.scroll_into_view_if_needed()
    notebook.screenshot("05-what-a-socket-reports")
    assert (notebook.outside, notebook.errors) == ([], [])

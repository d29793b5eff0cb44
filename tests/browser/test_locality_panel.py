"""LocalityPanel in a browser: every kind of control, by mouse and by keyboard, and what the kernel did about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook

pytestmark = [pytest.mark.root, pytest.mark.browser, pytest.mark.timeout(300)]

SHOP = """
import kmesh_lab as km
from kmesh_lab.widgets.locality_panel import LocalityPanel
lab = km.Lab()
n1 = lab.node("n1", locality="cn-west/xian/a")
n2 = lab.node("n2", locality="cn-west/xian/b")
shop, visitor = lab.pod("shop", n1), lab.pod("visitor", n2)
near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
failover = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, failover)
lab.apply(inventory, [near, far])
panel = LocalityPanel(lab, inventory, clients=[shop, visitor])
panel
"""

Open = Callable[[Sequence[str]], Notebook]


@pytest.fixture
def panel(open_cells: Open) -> tuple[Notebook, Locator]:
    notebook = open_cells([SHOP])
    notebook.run_all()
    shown = notebook.page.locator(".kl-locality")
    expect(shown).to_be_visible()
    return notebook, shown


def predict(shown: Locator, **guesses: str) -> None:
    for name, word in guesses.items():
        group = shown.get_by_role("radiogroup", name=f"Connects you expect at inventory-{name}")
        group.get_by_role("radio", name=word).check()
    shown.get_by_role("button", name="Lock in the prediction").click()
    expect(shown.get_by_text("Prediction locked in")).to_be_visible()


def result(shown: Locator, name: str) -> Locator:
    return shown.get_by_role("row").filter(has_text=name).locator(".kl-result")


def test_predict_run_and_see_bars_and_why(panel: tuple[Notebook, Locator]) -> None:
    notebook, shown = panel
    assert shown.get_by_role("button", name="Run 500 connects").is_disabled()
    predict(shown, a="some", b="some")
    shown.get_by_role("button", name="Run 500 connects").click()
    expect(shown.locator(".kl-verdict")).to_contain_text("inventory-a: you said some, it was 500")
    expect(result(shown, "inventory-a")).to_contain_text("observed 500")
    expect(result(shown, "inventory-b")).to_contain_text("observed 0")
    expect(shown.get_by_text("The program on n1 reported priority 0.")).to_be_visible()
    assert notebook.ask("panel.result.counts['inventory-a']") == "500"
    notebook.pictures(shown, "locality-panel")

    shown.get_by_role("button", name="Predict again").click()
    expect(shown.get_by_role("button", name="Lock in the prediction")).to_be_visible()
    assert notebook.ask("panel.result, panel.frame['phase']") == "(None, 'predict')"
    shown.get_by_text("Earlier runs").click()
    expect(shown.get_by_text("500 from shop: inventory-a 500, inventory-b 0")).to_be_visible()
    assert (notebook.outside, notebook.errors) == ([], [])


def press_until_answered(button: Locator, answer: Locator) -> None:
    """Press Enter, and again if it got lost: JupyterLab may move the focus to its cell at any moment."""
    for _ in range(3):
        if button.is_enabled():
            button.press("Enter")
        try:
            expect(answer).to_be_visible(timeout=10_000)
        except AssertionError:
            continue
        return


def test_every_control_works_by_keyboard_and_reaches_the_kernel(panel: tuple[Notebook, Locator]) -> None:
    notebook, shown = panel
    press = notebook.page.keyboard.press
    shown.get_by_label("Client").focus()
    press("ArrowDown")
    expect(shown.get_by_text("on n2, cn-west/xian/b")).to_be_visible()
    press("Tab")
    press("ArrowLeft")
    expect(shown.get_by_role("radio", name="STRICT")).to_be_checked()
    shown.get_by_role("button", name="Move ZONE later").focus()
    press("Enter")
    scopes = shown.get_by_role("list", name="Scopes in order").locator(".kl-scope")
    expect(scopes).to_have_text(["REGION", "SUBZONE", "ZONE"])
    expect(shown.get_by_role("button", name="Move ZONE later")).to_be_focused()
    shown.get_by_role("button", name="Remove REGION").press("Enter")
    shown.get_by_role("button", name="Add NODE").press("Enter")
    expect(scopes).to_have_text(["SUBZONE", "ZONE", "NODE"])
    shown.get_by_role("switch", name="inventory-a in service").press("Space")
    expect(shown.get_by_role("switch", name="inventory-a in service")).not_to_be_checked()
    assert notebook.ask("n2.maps.service[inventory].policy_name") == "FAILOVER"  # nothing before the run

    shown.get_by_role("radiogroup", name="at inventory-a").get_by_role("radio", name="none").press("Space")
    shown.get_by_role("radiogroup", name="at inventory-b").get_by_role("radio", name="none").press("Space")
    press("ArrowLeft")  # from none on to all
    shown.get_by_role("button", name="Lock in the prediction").press("Enter")
    shown.get_by_role("slider").press("ArrowLeft")
    press_until_answered(shown.get_by_role("button", name="Run 490 connects"), shown.locator(".kl-verdict"))

    expect(shown.locator(".kl-verdict")).to_have_text("Your prediction was right.")
    expect(result(shown, "inventory-b")).to_contain_text("observed 490")
    assert notebook.ask("panel.result.total, panel.result.client") == "(490, 'visitor')"
    row = "ServiceRow(prio_endpoint_count=(1, 0, 0, 0, 0, 0, 0), policy=1, ports=((80, 8080),), waypoint=None)"
    assert notebook.ask("n2.maps.service[inventory]") == row
    expect(shown.get_by_text("changed by this panel")).to_be_visible()
    shown.get_by_role("button", name="Put it back").press("Enter")
    expect(shown.get_by_text("as before this panel")).to_be_visible()
    assert notebook.ask("n2.maps.service[inventory].policy_name") == "FAILOVER"
    assert (notebook.outside, notebook.errors) == ([], [])


def test_by_mouse_strict_with_nobody_local_goes_to_the_vip(panel: tuple[Notebook, Locator]) -> None:
    notebook, shown = panel
    shown.get_by_role("radio", name="STRICT").click()
    shown.get_by_role("switch", name="inventory-a in service").click()
    shown.get_by_role("button", name="Lock in the prediction").click()
    expect(shown.get_by_text("predict inventory-a too")).to_be_visible()
    predict(shown, a="none", b="none")
    slider = shown.get_by_role("slider").bounding_box()
    assert slider
    notebook.page.mouse.click(slider["x"] + slider["width"] - 2, slider["y"] + slider["height"] / 2)
    shown.get_by_role("button", name="Run 1000 connects").click()
    expect(shown.locator(".kl-verdict")).to_have_text("Your prediction was right.")
    expect(shown.get_by_text("still the mesh blocked nothing")).to_be_visible()
    expect(result(shown, "EHOSTUNREACH")).to_contain_text("1000")
    notebook.pictures(shown, "locality-panel-strict")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_what_ends_is_said_on_the_page(panel: tuple[Notebook, Locator]) -> None:
    notebook, shown = panel
    state = shown.locator(".kl-state")
    threads = "sum('LocalityPanel' in t.name for t in __import__('threading').enumerate())"
    notebook.run_all()  # another lab and another panel in place of the first
    expect(shown).to_be_visible()
    notebook.page.wait_for_timeout(500)
    assert notebook.ask(threads) == "1"

    notebook.ask("__import__('os').kill(near.pid, 9)")
    expect(shown.get_by_text("its process has ended")).to_be_visible()
    notebook.ask("__import__('os').kill(shop.pid, 9)")
    expect(state).to_contain_text("The process of shop has ended, so it cannot connect. Choose another client.")
    notebook.ask("lab.close()")
    expect(state).to_contain_text("The lab is closed")
    expect(shown.get_by_label("Client")).to_be_disabled()
    notebook.page.wait_for_timeout(600)
    assert notebook.ask(threads) == "0"
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(state).to_contain_text("The kernel was restarted or has ended", timeout=30_000)
    assert (notebook.outside, notebook.errors) == ([], [])


EVIL = "<img src=x onerror=window.ran=1>"


def test_names_are_text(open_cells: Open) -> None:
    evil = SHOP.replace(
        "lab.apply(inventory, [near, far])",
        f"bad = km.Workload({EVIL!r}, '10.244.9.9', node={EVIL!r}, locality='<b>x')\n"
        "lab.apply(inventory, [near, far, bad])",
    )
    notebook = open_cells([evil, "panel.html()", "from IPython.display import HTML; HTML(panel.html())"])
    notebook.run_all()
    shown = notebook.page.locator(".kl-locality")
    expect(shown.get_by_text(EVIL).first).to_be_visible()
    shown.get_by_role("button", name="Remove REGION").click()
    assert notebook.page.locator("img[src='x']").count() == 0
    assert notebook.page.evaluate("() => window.ran") is None
    assert (notebook.outside, notebook.errors) == ([], [])

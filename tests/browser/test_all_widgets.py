"""What is asked of every view: names for a screen reader, a focus one can see, text one can read, no leftovers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook
from .test_decision_path import faint

pytestmark = [pytest.mark.root, pytest.mark.browser, pytest.mark.timeout(400)]

Open = Callable[[Sequence[str]], Notebook]

SHOP = """
import kmesh_lab as km
from kmesh_lab.interview import QUESTIONS
from kmesh_lab.widgets import *
lab = km.Lab()
n1, n2 = lab.node("n1", locality="cn-west/xian/a"), lab.node("n2", locality="cn-west/xian/b")
shop, visitor = lab.pod("shop", n1), lab.pod("visitor", n2)
near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
failover = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, failover)
lab.apply(inventory, [near, far])
"""
VIEWS = {
    "kl-dp": "DecisionPath(shop.connect(inventory, 80))",
    "kl-locality": "LocalityPanel(lab, inventory, clients=[shop, visitor])",
    "kl-maps": "MapInspector(n1, repair=lambda: lab.apply(inventory, [near, far]))",
    "kl-tlv": "TlvInspector()",
    "kl-topology": "Topology(lab)",
    "kl-ev": "EventStream(lab)",
    "kl-predict": "km.predict('Who?', ['inventory-a', 'inventory-b'], shop.connect(inventory, 80).backend)",
    "kl-mi": "MockInterview(QUESTIONS)",
}
THREADS = "[t.name for t in __import__('threading').enumerate() if t.name.startswith('kmesh-lab')]"
LABS = "sum(type(each).__name__ == 'Lab' and not each.closed for each in __import__('gc').get_objects())"

CONTROLS = "button, select, input, textarea, summary, [tabindex='0']"
NAMELESS = """(root, controls) => {  // shown, but with nothing for a screen reader to say
    const text = (id) => document.getElementById(id)?.textContent ?? "";
    const name = (each) => [
        each.getAttribute("aria-label") ?? "",
        ...(each.getAttribute("aria-labelledby") ?? "").split(" ").map(text),
        ...[...(each.labels ?? [])].map(label => label.textContent),
        each.matches("input, select, textarea") ? "" : each.textContent,
    ].join("").trim();
    const shown = [...root.querySelectorAll(controls)].filter(each => each.getClientRects().length);
    return shown.filter(each => !name(each)).map(each => each.outerHTML.slice(0, 120));
}"""
FOCUS = """(root) => {  // is the focus inside, is there an outline around it or around the label that stands for it?
    const element = document.activeElement;
    const next = element.nextElementSibling;
    const shown = element.matches("input") && next?.tagName === "SPAN" ? next : element;
    const outline = (each) => getComputedStyle(each).outlineStyle;
    const outlined = [shown, ...shown.querySelectorAll("*")].some(each => outline(each) !== "none");
    return [root.contains(element), outlined, element.outerHTML.slice(0, 120)];
}"""

LOOKS = """(views) => {  // how each element of the views is drawn, with their style sheets in this order and reversed
    const box = ["padding", "margin", "border", "borderRadius", "minHeight", "maxWidth", "font", "color", "background"];
    const look = (each) => [each.tagName, each.className, ...box.map(name => getComputedStyle(each)[name])].join(" | ");
    const looks = () => views.flatMap(view => [...document.querySelectorAll(`.${view}, .${view} *`)].map(look));
    const sheets = [...document.querySelectorAll("style")].filter(each => each.textContent.includes(".kl-view"));
    const before = looks();
    sheets.reverse().forEach(sheet => sheet.parentNode.append(sheet));
    const after = looks();
    return [sheets.length, before.filter((each, at) => each !== after[at])];
}"""


@pytest.fixture
def all_views(open_cells: Open) -> tuple[Notebook, dict[str, Locator]]:
    notebook = open_cells([SHOP, *VIEWS.values()])
    notebook.page.set_viewport_size({"width": 1280, "height": 1400})
    notebook.run_all()
    shown = {name: notebook.page.locator(f".{name}") for name in VIEWS}
    for each in shown.values():
        each.wait_for()
    return notebook, shown


def test_every_control_has_a_name_and_the_tab_key_leads_to_it_visibly(
    all_views: tuple[Notebook, dict[str, Locator]],
) -> None:
    notebook, shown = all_views
    page = notebook.page
    for name, view in shown.items():
        assert view.evaluate(NAMELESS, CONTROLS) == [], name
        first = view.locator(CONTROLS).and_(page.locator(":enabled, [tabindex='0']")).first
        first.focus()
        for reached in range(60):
            inside, outlined, focused = view.evaluate(FOCUS)
            if not inside:
                assert reached, name
                break
            assert outlined, (name, focused)
            page.keyboard.press("Tab")
        else:
            pytest.fail(f"{name} does not let the focus go")
    assert (notebook.outside, notebook.errors) == ([], [])


EVIL = "<img src=x onerror=window.ran=1>"
PAYLOAD = f"""
evil = km.Service("evil.shop", "10.96.0.66", {{80: 8080}})
object.__setattr__(evil, "name", {EVIL!r})  # km.Service refuses such a name
gate = lab.waypoint("waypoint", n1)
lab.apply(evil, [near, km.Workload({EVIL!r}, "10.244.9.9", node={EVIL!r}, locality="<b>x")], waypoint=gate)
c = shop.connect("10.96.0.66", 80)
c.send({EVIL.encode()!r})
captured = gate.captured()
"""
EVIL_VIEWS = {
    "kl-dp": "DecisionPath(c)",
    "kl-locality": "LocalityPanel(lab, evil, clients=[shop, visitor])",
    "kl-maps": "MapInspector(n1)",
    "kl-tlv": "TlvInspector(captured)",
    "kl-topology": "Topology(lab)",
    "kl-ev": "EventStream(lab)",
}


def test_a_payload_and_a_service_name_with_html_in_them_are_text_in_every_view(open_cells: Open) -> None:
    notebook = open_cells([SHOP, PAYLOAD, *EVIL_VIEWS.values(), "c", "c.decision", "captured", "lab.picture(c)"])
    notebook.run_all()
    shown = {name: notebook.page.locator(f".{name}") for name in EVIL_VIEWS}

    notebook.ask("shop.connect('10.96.0.66', 80).close()")  # for those who show only what comes
    shown["kl-maps"].get_by_role("tab", name="service").click()
    shown["kl-dp"].get_by_role("button", name="Step 3").click()

    for name, view in shown.items():
        expect(view.get_by_text(EVIL).first).to_be_attached()
        assert "<img src=x" in view.inner_text(), name
    assert notebook.page.locator("img[src='x']").count() == 0
    assert notebook.page.evaluate("() => window.ran") is None
    assert (notebook.outside, notebook.errors) == ([], [])


def test_text_can_be_read_in_both_themes_before_and_after_views_are_used(
    all_views: tuple[Notebook, dict[str, Locator]],
) -> None:
    notebook, shown = all_views
    assert faint(notebook, *shown.values()) == {"Dark": [], "Light": []}

    notebook.ask("exec('held = [pod.connect(inventory, 80) for pod in (shop, shop, visitor)]', globals())")
    shown["kl-dp"].get_by_role("button", name="Step 4").click()
    shown["kl-tlv"].get_by_role("gridcell", name="byte 10:").click()
    shown["kl-predict"].get_by_label("inventory-b").check()
    shown["kl-predict"].get_by_role("button", name="Commit the prediction").click()
    shown["kl-mi"].get_by_role("button", name="Start / 开始").click()
    shown["kl-mi"].get_by_role("button", name="Reveal").click()
    expect(shown["kl-predict"].get_by_role("status")).to_be_visible()
    expect(shown["kl-topology"].get_by_text("connections open").first).to_be_visible()
    assert faint(notebook, *shown.values()) == {"Dark": [], "Light": []}


def test_a_view_looks_the_same_whichever_view_came_before(all_views: tuple[Notebook, dict[str, Locator]]) -> None:
    notebook, shown = all_views
    for live in ("kl-maps", "kl-topology", "kl-ev"):  # what stands still can be compared
        shown[live].get_by_role("switch", name="Live").click()

    sheets, changed = notebook.page.evaluate(LOOKS, list(shown))

    assert (sheets, changed) == (len(VIEWS), [])


def test_running_all_cells_again_leaves_one_lab_and_one_thread_for_each_live_view(
    all_views: tuple[Notebook, dict[str, Locator]],
) -> None:
    notebook, shown = all_views
    expect(shown["kl-topology"].get_by_role("switch", name="Live")).to_be_checked()
    before = notebook.ask(THREADS)
    for _ in range(2):
        notebook.run_all()
        expect(shown["kl-topology"].get_by_role("switch", name="Live")).to_be_checked()
        expect(shown["kl-maps"].get_by_role("switch", name="Live")).to_be_checked()
    notebook.page.wait_for_timeout(500)
    assert sorted(eval(notebook.ask(THREADS))) == sorted(eval(before))
    assert notebook.ask(LABS) == "1"

    notebook.ask("__import__('os').kill(near.pid, 9)")
    notebook.ask("lab.close()")
    for name in ("kl-locality", "kl-maps", "kl-topology"):
        expect(shown[name].locator(".kl-state").first).to_contain_text("The lab is closed")
    shown["kl-dp"].get_by_role("button", name="Last step").click()
    expect(shown["kl-dp"].get_by_role("status")).to_contain_text("Step 8 of 8")
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    for name in ("kl-locality", "kl-maps", "kl-topology"):
        expect(shown[name].locator(".kl-state").first).to_contain_text("The kernel was restarted", timeout=30_000)
    expect(shown["kl-tlv"].get_by_role("alert").first).to_contain_text("The kernel was restarted")
    shown["kl-predict"].get_by_label("inventory-b").check()
    shown["kl-predict"].get_by_role("button", name="Commit").click()
    expect(shown["kl-predict"].get_by_role("status")).to_contain_text("Observed, not as predicted")
    shown["kl-mi"].get_by_role("button", name="Start").click()
    expect(shown["kl-mi"].get_by_role("alert")).to_contain_text("kernel")
    shown["kl-dp"].get_by_role("button", name="First step").click()
    expect(shown["kl-dp"].get_by_role("status")).to_contain_text("Step 1 of 8")
    assert (notebook.outside, notebook.errors) == ([], [])

"""The live views as a learner has them: in JupyterLab, in Chromium, from a click or an event to what is on the page.

Times are taken in the page. Where the kernel is the beginning, both clocks are the machine's: time.time(), Date.now().
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator

from benchmarks.browser import Notebook, Server, chromium, jupyterlab, notebook_of
from benchmarks.report import Figure

ROUNDS = 11
CONNECTS = 500
ROWS = 10_000

SHOP = """
import time
import kmesh_lab as km
from kmesh_lab.widgets import LocalityPanel, MapInspector, Topology
lab = km.Lab()
n1, n2 = lab.node("n1", locality="cn-west/xian/a"), lab.node("n2", locality="cn-west/xian/b")
shop = lab.pod("shop", n1)
near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
nearest = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, nearest)
lab.apply(inventory, [near, far])
"""
MANY = f"""
many = km.Service("many.shop", "10.96.1.1", {{80: 8080}})
address = lambda i: f"10.245.{{i // 250}}.{{i % 250 + 1}}"
lab.apply(many, [km.Workload(f"w-{{i}}", address(i), node="n9", locality="x/y") for i in range({ROWS})])
"""

# From a click, or a text that is typed, to the picture after the page shows the answer.
ACT = """async ([root, control, text, answer]) => {
    const view = document.querySelector(root);
    const named = each => each.matches("input") || each.textContent.startsWith(text);
    const element = [...view.querySelectorAll(control)].find(named);
    const shown = () => view.textContent.includes(answer);
    if (shown()) throw new Error(`${answer} was there before`);
    const begin = performance.now();
    if (element.matches("input")) {
        element.value = text;
        element.dispatchEvent(new Event("input", {bubbles: true}));
    } else element.click();
    while (!shown()) {
        await new Promise(done => setTimeout(done, 2));
        if (performance.now() - begin > 20000) throw new Error(`no ${answer} within 20 s`);
    }
    await new Promise(requestAnimationFrame);
    return (performance.now() - begin) / 1000;
}"""
# Notes when a text appears; `SEEN` says when that was.
WATCH = """([root, text]) => {
    window.seen = null;
    const view = document.querySelector(root);
    const watch = new MutationObserver(() => {
        if (!view.textContent.includes(text)) return;
        watch.disconnect();
        requestAnimationFrame(() => { window.seen = Date.now() / 1000; });
    });
    watch.observe(view, {childList: true, characterData: true, subtree: true});
}"""
SEEN = "() => window.seen"


def figures() -> list[Figure]:
    """LocalityPanel, MapInspector and Topology, one after the other, each with a lab of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        profile = Path(home, "chromium")
        with jupyterlab(Path(home)) as server, chromium(profile) as context:
            return [*_locality(server, context), *_maps(server, context), *_topology(server, context)]


def _view(server: Server, context: BrowserContext, name: str, cells: list[str]) -> tuple[Notebook, Locator]:
    notebook = server.open(context, name, notebook_of(cells))
    notebook.run_all()
    view = notebook.page.locator(f".kl-{name}")
    view.wait_for()
    return notebook, view


def _act(notebook: Notebook, name: str, control: str, text: str, answer: str) -> float:
    return float(notebook.page.evaluate(ACT, [f".kl-{name}", control, text, answer]))


def _since(notebook: Notebook, name: str, text: str, statement: str) -> float:
    """From the end of a statement in the kernel to the picture in which the page has the text."""
    notebook.page.evaluate(WATCH, [f".kl-{name}", text])
    begin = float(notebook.ask(f"(exec({statement!r}, globals()), time.time())[1]"))
    return float(notebook.page.wait_for_function(SEEN).json_value()) - begin


def _locality(server: Server, context: BrowserContext) -> Iterator[Figure]:
    cells = [SHOP, "LocalityPanel(lab, inventory, clients=[shop])", "lab"]
    notebook, view = _view(server, context, "locality", cells)
    took = []
    for _ in range(ROUNDS):
        for endpoint, word in (("inventory-a", "all"), ("inventory-b", "none")):
            group = view.get_by_role("radiogroup", name=f"Connects you expect at {endpoint}")
            group.get_by_role("radio", name=word).check()
        _act(notebook, "locality", "button", "Lock in", "Prediction locked in")
        took.append(_act(notebook, "locality", "button", f"Run {CONNECTS}", "Your prediction was right."))
        _act(notebook, "locality", "button", "Predict again", "Lock in the prediction")
    yield Figure(f"LocalityPanel: click to {CONNECTS} connects and the last picture", took, at_most=1.5)
    notebook.ask("lab.close()")
    notebook.close()


def _maps(server: Server, context: BrowserContext) -> Iterator[Figure]:
    notebook, view = _view(server, context, "maps", [SHOP, MANY, "MapInspector(n1)"])
    tab, page, search, news = [], [], [], []
    for number in range(ROUNDS):
        tab.append(_act(notebook, "maps", "[role=tab]", "backend", "km_backend on n1"))
        page.append(_act(notebook, "maps", "[aria-label='Next page']", "→", "page 2 of 201"))
        search.append(_act(notebook, "maps", "input[type=search]", f"w-{8000 + number}", f"1 of {ROWS + 3:,} rows"))
        _act(notebook, "maps", "[role=tab]", "service", "km_service on n1")
        change = f"lab.apply(km.Service('inventory.shop', '10.96.0.10', {{80: {9000 + number}}}), [near])"
        view.locator(".kl-badge").wait_for(state="detached")
        news.append(_since(notebook, "maps", f"80→{9000 + number}", change))
        view.locator(".kl-badge").wait_for(state="detached")
    what = f"MapInspector, {ROWS + 3:,} rows: "
    yield Figure(f"{what}click on a tab to its first page", tab)
    yield Figure(f"{what}next page", page)
    yield Figure(f"{what}search, 150 ms of waiting for the next key included", search)
    yield Figure(f"{what}a row changes in the kernel to the page shows it", news)
    notebook.ask("lab.close()")
    notebook.close()


def _topology(server: Server, context: BrowserContext) -> Iterator[Figure]:
    notebook, _ = _view(server, context, "topology", [SHOP, "held = []", "Topology(lab)"])
    seen = [
        _since(notebook, "topology", f"{number} connection", "held.append(shop.connect(inventory, 80))")
        for number in range(1, 2 * ROUNDS)
    ]
    yield Figure("Topology: a connection is made to the page shows it", seen, at_most=0.2)
    notebook.ask("lab.close()")
    notebook.close()

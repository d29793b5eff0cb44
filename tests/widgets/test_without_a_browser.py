"""Every view in a notebook that nobody looks at: it has its static form, starts nothing, and holds nothing up."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.root

SHOP = """
import threading
import kmesh_lab as km
from kmesh_lab.widgets import *
lab = km.Lab()
n1 = lab.node("n1", locality="cn-west/xian/a")
shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
lab.apply(inventory, [near])
"""
VIEWS = (
    "DecisionPath(shop.connect(inventory, 80))",
    "LocalityPanel(lab, inventory, clients=[shop])",
    "MapInspector(n1)",
    "TlvInspector()",
    "Topology(lab)",
    "EventStream(lab)",
    "km.predict('Who?', ['inventory-a', 'inventory-b'], shop.connect(inventory, 80).backend)",
)
THREADS = "[each.name for each in threading.enumerate() if each.name.startswith('kmesh-lab')]"


def test_views_that_no_page_shows_start_no_thread_and_send_nothing_more() -> None:
    sources = (SHOP, *VIEWS, THREADS, "shop.connect_many(inventory, count=20)", "lab.close()")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])

    NotebookClient(notebook, timeout=30, kernel_name="python3").execute()

    *shown, threads, connects, closed = [cell.outputs for cell in notebook.cells[1:]]
    for view, outputs in zip(VIEWS, shown, strict=True):
        assert len(outputs) == 1, view
        assert {"text/html", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(outputs[0].data), view
        assert "inventory-a" in outputs[0].data["text/html"] or view in ("TlvInspector()", "EventStream(lab)"), view
    assert threads[0].data["text/plain"] == "[]"
    assert (len(connects), len(closed)) == (1, 1)
    assert "left behind: nothing" in closed[0].data["text/plain"]

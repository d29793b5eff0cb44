"""km.predict in a real JupyterLab: nothing is shown before a commitment, all of it afterwards, by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

OpenCells = Callable[[Sequence[str]], Notebook]

ASK = """
import kmesh_lab as km
from kmesh_lab.widgets import weak_spots

class Table:
    def _repr_html_(self):
        return "<b onclick='window.ran=1'>row of the run</b><img src=x onerror='window.ran=2'>"

p = km.predict("Who <i>answers?", ["inventory-a", "inventory-b", "nobody"], "inventory-a", Table())
p
"""


@pytest.fixture
def asked(open_cells: OpenCells, tmp_path_factory: pytest.TempPathFactory) -> tuple[Notebook, Locator]:
    home = tmp_path_factory.mktemp("data")
    notebook = open_cells([f"import os; os.environ['XDG_DATA_HOME'] = {str(home)!r}", ASK])
    notebook.run_all()
    view = notebook.page.locator(".kl-predict")
    view.wait_for()
    return notebook, view


def test_the_result_appears_after_the_commitment_beside_the_prediction(asked: tuple[Notebook, Locator]) -> None:
    notebook, view = asked
    expect(view.get_by_role("group", name="Who <i>answers?")).to_be_visible()
    expect(view.get_by_text("row of the run")).to_have_count(0)
    notebook.pictures(view, "prediction-asked")

    view.get_by_role("button", name="Commit the prediction").click()
    expect(view.get_by_role("alert")).to_have_text("Choose one first.")
    view.get_by_label("nobody").check()
    view.get_by_role("button", name="Commit the prediction").click()

    expect(view.get_by_role("status")).to_contain_text("You predictednobody")
    expect(view.get_by_role("status")).to_contain_text("Observed, not as predicted✗inventory-a")
    expect(view.get_by_text("row of the run")).to_be_visible()
    assert notebook.ask("p.committed, weak_spots.weight('Who <i>answers?')") == "('nobody', 1)"
    notebook.pictures(view, "prediction-answered")
    view.get_by_text("row of the run").click()
    assert notebook.page.evaluate("() => window.ran") is None
    assert notebook.outside == []


def test_it_can_be_answered_with_the_keyboard_alone(asked: tuple[Notebook, Locator]) -> None:
    notebook, view = asked
    cells = notebook.page.locator(".jp-Cell").count()

    view.get_by_label("inventory-b").focus()
    notebook.page.keyboard.press("ArrowUp")
    notebook.page.keyboard.press("Enter")

    expect(view.get_by_role("status")).to_contain_text("Observed, as predicted✓inventory-a")
    assert notebook.ask("p.committed, len(weak_spots)") == "('inventory-a', 0)"
    assert notebook.page.locator(".jp-Cell").count() == cells


def test_it_can_be_seen_without_predicting(asked: tuple[Notebook, Locator]) -> None:
    notebook, view = asked
    view.get_by_role("button", name="Show without predicting").click()

    expect(view.get_by_role("status")).to_have_text("Observedinventory-a")
    assert notebook.ask("p.committed, p.frame['skipped'], len(weak_spots)") == "('', True, 0)"

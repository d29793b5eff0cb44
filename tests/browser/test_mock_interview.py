"""MockInterview in a real JupyterLab: a whole round by keyboard alone, weak spots, both themes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

OpenCells = Callable[[Sequence[str]], Notebook]

INTERVIEW = """
from kmesh_lab.interview import QUESTIONS
from kmesh_lab.widgets import MockInterview, weak_spots
m = MockInterview(QUESTIONS, seed=1)
m
"""


@pytest.fixture
def opened(open_cells: OpenCells, tmp_path_factory: pytest.TempPathFactory) -> tuple[Notebook, Locator]:
    home = tmp_path_factory.mktemp("data")
    notebook = open_cells([f"import os; os.environ['XDG_DATA_HOME'] = {str(home)!r}", INTERVIEW])
    notebook.page.set_viewport_size({"width": 1280, "height": 1400})
    notebook.run_all()
    view = notebook.page.locator(".kl-mi")
    view.wait_for()
    return notebook, view


def start(view: Locator, count: int) -> None:
    view.get_by_label("Questions / 题数").fill(str(count))
    view.get_by_role("button", name="Start / 开始").click()
    expect(view.get_by_role("timer")).to_be_visible()


def test_a_round_by_keyboard_alone(opened: tuple[Notebook, Locator]) -> None:
    notebook, view = opened
    keys, cells = notebook.page.keyboard, notebook.page.locator(".jp-Cell").count()

    view.get_by_label("30 seconds").focus()
    keys.press("Tab")
    keys.press("ControlOrMeta+a")
    keys.type("2")
    keys.press("Enter")
    expect(view.get_by_text("Question 1 of 2")).to_be_visible()
    notebook.pictures(view, "mock-interview-question")

    keys.press("Tab")
    keys.press("Enter")  # reveal; the focus goes to the first point
    expect(view.get_by_role("group", name="Which of these did you say?")).to_be_visible()
    notebook.pictures(view, "mock-interview-answer")
    for _ in range(3):
        keys.press("Space")
        keys.press("Tab")
    expect(view.get_by_text("3 of 3 points")).to_be_visible()
    view.get_by_role("button", name="Next question").focus()
    keys.press("Enter")

    expect(view.get_by_text("Question 2 of 2")).to_be_visible()
    keys.press("Tab")
    keys.press("Enter")
    keys.press("Space")
    view.get_by_role("button", name="Finish").focus()
    keys.press("Enter")

    expect(view.get_by_role("heading")).to_contain_text("Round finished: 4 of 6 points")
    expect(view.get_by_text("Weak spots / 薄弱点 (1)")).to_be_visible()
    assert notebook.ask("len(m.scores), len(weak_spots)") == "(2, 1)"
    assert notebook.page.locator(".jp-Cell").count() == cells
    assert (notebook.outside, notebook.errors) == ([], [])


def test_weak_spots_are_listed_exported_and_forgotten(opened: tuple[Notebook, Locator]) -> None:
    notebook, view = opened
    start(view, 1)
    view.get_by_role("button", name="Reveal").click()
    view.get_by_role("button", name="Finish").click()

    view.get_by_text("Weak spots / 薄弱点 (1)").click()
    expect(view.get_by_label("Weak spots as a Markdown list")).to_have_value(notebook.ask("m.export()"))
    notebook.pictures(view, "mock-interview-end")
    view.get_by_role("button", name="Forget: ").click()
    expect(view.get_by_text("Weak spots / 薄弱点 (0)")).to_be_visible()
    assert notebook.ask("len(weak_spots)") == "0"
    view.get_by_role("button", name="Another round").click()
    expect(view.get_by_role("timer")).to_be_visible()


def test_the_clock_says_when_time_is_up(opened: tuple[Notebook, Locator]) -> None:
    notebook, view = opened
    notebook.ask("m.set_trait('frame', {**m.frame, 'seconds': {'short': 1, 'long': 1, 'whiteboard': 1}})")
    start(view, 1)

    expect(view.get_by_text("Time is up / 时间到")).to_be_visible()
    view.get_by_role("button", name="Reveal").click()
    expect(view.get_by_role("timer")).to_contain_text("used")
    expect(view.get_by_text("Time is up / 时间到")).to_be_visible()

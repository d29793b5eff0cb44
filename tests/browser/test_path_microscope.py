"""PathMicroscope in a real JupyterLab: one scrubber over two lanes, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook
from .test_decision_path import faint

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

OpenCells = Callable[[Sequence[str]], Notebook]

LANES = """
from kmesh_lab.comparison import follow
from kmesh_lab.widgets import PathMicroscope
view = PathMicroscope(follow("kernel"), follow("sidecars http"))
view
"""
NUMBERS = """
numbers = {"steps": sum(len(lane["moments"]) for lane in view.frame["lanes"])}
first = next(m for m in view.frame["lanes"][0]["moments"] if m["label"] == "verdict")
"""
HOSTILE = """
from kmesh_lab.comparison import PATHS, Moment, Recording
from kmesh_lab.widgets import PathMicroscope
hostile = "<img src=x onerror=alert(1)>"
moment = Moment(0, 1, "client", "call", hostile, hostile, 28, hostile.encode())
PathMicroscope(Recording(PATHS["direct"], ("client", "server"), (moment,), (), {hostile: 1}, ""))
"""


def opened(open_cells: OpenCells, *cells: str) -> tuple[Notebook, Locator]:
    notebook = open_cells(cells)
    notebook.page.set_viewport_size({"width": 1280, "height": 1400})
    notebook.run_all()
    view = notebook.page.locator(".kl-pm").first
    view.wait_for()
    return notebook, view


def test_one_scrubber_moves_both_lanes_by_mouse_and_keyboard_and_no_key_reaches_the_notebook(
    open_cells: OpenCells,
) -> None:
    notebook, view = opened(open_cells, LANES, NUMBERS)
    cells = notebook.page.locator(".jp-Cell").count()
    steps = int(notebook.ask("numbers['steps']"))
    slider = view.get_by_role("slider", name="Step of the request")
    kernel = view.get_by_role("region", name="The step of kernel")
    sidecars = view.get_by_role("region", name="The step of sidecars http")
    expect(view.locator(".kl-pm-clock")).to_have_text(f"0.0 µs · step 1 of {steps}")
    expect(kernel).to_contain_text("makes a socket")
    expect(sidecars).to_contain_text("Not begun yet.")

    slider.focus()
    notebook.page.keyboard.press("ArrowRight")

    expect(sidecars).to_contain_text("makes a socket")
    expect(view.get_by_role("status")).to_contain_text("sidecars http: client, socket: makes a socket")
    assert "sidecars http" in (slider.get_attribute("aria-valuetext") or "")

    while "verdict" not in kernel.inner_text():
        view.get_by_role("button", name="Step forward").click()
    expect(kernel).to_contain_text("connect(2) goes on to 10.244.2.1:8080")
    expect(kernel.locator(".kl-pm-reported")).to_contain_text("trace_address(")
    expect(kernel).to_contain_text("bpf/cgroup_sock.c")
    notebook.pictures(view, "path-microscope")

    slider.focus()
    notebook.page.keyboard.press("End")
    expect(view.locator(".kl-pm-clock")).to_contain_text(f"step {steps} of {steps}")
    expect(view.get_by_role("group", name="kernel", exact=True)).to_contain_text("so far 13 system calls")
    expect(view.get_by_role("group", name="sidecars http", exact=True)).to_contain_text("14 segments")
    expect(kernel).to_contain_text("This lane was done after")
    assert faint(notebook, view) == {"Dark": [], "Light": []}

    first = view.locator(".kl-pm-tracks").first.locator(".kl-pm-call").first
    narrow = (first.bounding_box() or {})["width"]
    view.get_by_label("one scale for all lanes").uncheck()
    assert (first.bounding_box() or {})["width"] > 1.5 * narrow  # the kernel lane fills its width
    view.get_by_label("one scale for all lanes").check()

    tracks = view.locator(".kl-pm-tracks").last
    box = tracks.bounding_box()
    assert box is not None
    tracks.click(position={"x": box["width"] * 0.5, "y": 30})
    middle = int(slider.input_value())
    assert middle > 0
    view.get_by_role("button", name="Play").click()
    notebook.page.wait_for_function(
        "([slider, from]) => Number(slider.value) > from + 1", arg=[slider.element_handle(), middle]
    )
    view.get_by_role("button", name="Pause").click()
    expect(view.get_by_role("button", name="Play")).to_be_visible()
    view.get_by_role("button", name="Play").focus()
    notebook.page.keyboard.press("Home")
    expect(slider).to_have_value("0")
    for key in ("a", "b", "x", "d", "d", "0", "0"):
        notebook.page.keyboard.press(key)
    slider.focus()
    for key in ("a", "b", "x", "d", "d", "0", "0"):
        notebook.page.keyboard.press(key)
    assert notebook.page.locator(".jp-Cell").count() == cells
    assert (notebook.outside, notebook.errors) == ([], [])


def test_names_and_bytes_are_text(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells, HOSTILE)

    expect(view.locator(".kl-pm-story")).to_have_text("<img src=x onerror=alert(1)>")
    assert notebook.page.locator(".jp-OutputArea-output img").count() == 0
    assert (notebook.outside, notebook.errors) == ([], [])

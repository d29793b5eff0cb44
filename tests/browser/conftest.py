"""A real JupyterLab and a real Chromium, shared by the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from benchmarks import browser
from benchmarks.browser import REPOSITORY, Notebook, Server

__all__ = ["Notebook", "Server"]


@pytest.fixture(scope="package")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab on 127.0.0.1 over a copy of the notebooks, with a configuration of its own."""
    with browser.jupyterlab(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Debian's Chromium, headless."""
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as context:
        yield context


@pytest.fixture
def open_content(jupyterlab: Server, chromium: BrowserContext):  # type: ignore[no-untyped-def]
    """``open_content(name, notebook as JSON)`` opens a notebook of the test's own and waits for its kernel."""
    opened: list[Notebook] = []

    def open_it(name: str, content: dict[str, Any]) -> Notebook:
        opened.append(jupyterlab.open(chromium, name, content))
        return opened[-1]

    yield open_it
    for notebook in opened:
        notebook.close()


@pytest.fixture
def open_notebook(open_content: Callable[[str, dict[str, Any]], Notebook]) -> Callable[[str], Notebook]:
    """``open_notebook("00-start-here")`` opens a copy of that notebook, without its committed outputs."""

    def open_it(name: str) -> Notebook:
        content = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text())
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        return open_content(name, content)

    return open_it


@pytest.fixture
def open_cells(open_content: Callable[[str, dict[str, Any]], Notebook]) -> Callable[[Sequence[str]], Notebook]:
    """``open_cells(["import kmesh_lab as km", …])`` opens a notebook of these code cells."""

    return lambda cells: open_content("cells", browser.notebook_of(cells))

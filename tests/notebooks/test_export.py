"""The notebooks as HTML: complete, linked, and readable in a room without a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from docs.export.export import SLIDES, export

NOTEBOOKS = sorted(Path(__file__).parents[2].glob("notebooks/[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("html")
    export(folder)
    return lambda name: (folder / name).read_text()


def names(text: str) -> list[str]:
    """Where the links of a page lead, within the export."""
    return [name for name in re.findall(r'<a [^>]*href="([^"#:]+)(?:#[^"]*)?"', text) if "/" not in name]


def test_the_start_page_leads_to_every_notebook_and_to_the_slides(pages: Callable[[str], str]) -> None:
    decks = [f"{path.stem}.slides.html" for path in NOTEBOOKS if path.stem.startswith(SLIDES)]
    assert len(decks) == len(SLIDES) == 2
    assert {f"{path.stem}.html" for path in NOTEBOOKS} | set(decks) <= set(names(pages("index.html")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_has_the_outputs_leads_to_pages_and_loads_nothing(path: Path, pages: Callable[[str], str]) -> None:
    text = pages(f"{path.stem}.html")
    assert "Out[1]:" in text or "Out[2]:" in text
    assert [name for name in names(text) if name.endswith(".ipynb")] == []
    assert not re.search(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"'](?!data:)", text)


@pytest.mark.parametrize("number", SLIDES)
def test_slides_open_at_headings_and_load_nothing(number: str, pages: Callable[[str], str]) -> None:
    [path] = [path for path in NOTEBOOKS if path.stem.startswith(number)]
    text = pages(f"{path.stem}.slides.html")
    assert text.count("<section") >= 2 * text.count("<h2") >= 10
    assert not re.search(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"'](?!data:)", text)

"""Every notebook: its form, its proofs, and that it still says what its committed outputs say.

The limits are those of CONTRIBUTING.md. A cell tagged ``check`` proves what the text claims; one tagged ``machine``
shows something that differs between machines.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted(Path(__file__).parents[2].glob("notebooks/[0-9]*.ipynb"))
ALLOWED_IMPORTS = {"kmesh_lab"}
FORBIDDEN = ("time.sleep", "!", "%%bash", "sudo ", "def ", "class ", "print(")
ALLOWED_IN_EXERCISES = ("def ", "class ")
EMPTY_WORDS = re.compile(r"\b(simply|just|obviously)\b", re.IGNORECASE)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def tagged(cell: Any, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def shown(cell: Any) -> list[Any]:
    """What a reader sees of a cell, in the forms that survive without a kernel."""
    forms = ("text/html", "text/markdown", "image/svg+xml", "text/plain")
    return [
        {form: output.data[form] for form in forms if form in output.get("data", {})} or output.get("text", "")
        for output in cell.outputs
    ]


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS][:2] == ["00-start-here", "01-one-connect"]


@each_notebook
def test_the_title_is_a_question_or_a_claim_and_the_lab_is_closed_at_the_end(path: Path) -> None:
    notebook = read(path)
    title = notebook.cells[0].source.splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith(("?", ".")) or "`" in title
    assert "lab.close()" in [cell.source for cell in code_cells(notebook)]


@each_notebook
def test_cells_are_few_and_short(path: Path) -> None:
    notebook = read(path)
    lines = sorted(len(cell.source.splitlines()) for cell in code_cells(notebook))
    words = [len(text.split()) for text in texts(notebook)]
    assert 20 <= len(notebook.cells) <= 40
    assert statistics.median(lines) <= 4
    assert lines[int(0.9 * len(lines))] <= 8
    assert lines[-1] <= 15
    assert 30 <= statistics.median(words) <= 60
    assert max(words) <= 120


@each_notebook
def test_code_uses_the_library_and_nothing_else(path: Path) -> None:
    for cell in code_cells(read(path)):
        imported = set(re.findall(r"^\s*(?:import|from) (\w+)", cell.source, re.MULTILINE))
        assert imported <= ALLOWED_IMPORTS, cell.source
        words = [word for word in FORBIDDEN if not (tagged(cell, "exercise") and word in ALLOWED_IN_EXERCISES)]
        assert not [word for word in words if re.search(rf"^\s*{re.escape(word)}", cell.source, re.MULTILINE)]


@each_notebook
def test_text_has_no_empty_words(path: Path) -> None:
    assert not [match[0] for text in texts(read(path)) if (match := EMPTY_WORDS.search(text))]


@each_notebook
def test_claims_are_proven_by_check_cells_that_assert(path: Path) -> None:
    checks = [cell for cell in code_cells(read(path)) if tagged(cell, "check")]
    assert len(checks) >= 3
    assert all("assert " in cell.source for cell in checks)


@each_notebook
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", "\n".join(texts(read(path))))
    assert not [link for link in links if "://" not in link and not (path.parent / link).exists()]


@each_notebook
def test_outputs_are_committed_and_none_is_an_error(path: Path) -> None:
    cells = code_cells(read(path))
    assert any(cell.outputs for cell in cells)
    assert all(cell.execution_count for cell in cells)
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


@each_notebook
def test_the_reader_predicts_first_and_one_of_the_choices_comes_true(path: Path) -> None:
    asked = [cell for cell in code_cells(read(path)) if "km.predict(" in cell.source]
    assert len(asked) >= 3
    assert not [cell.source for cell in asked if "none of these" in cell.outputs[0].data["text/plain"]]
    assert "Your guess" not in "\n".join(texts(read(path)))


@pytest.mark.notebook
@pytest.mark.timeout(300)
@each_notebook
def test_a_run_from_top_to_bottom_gives_the_committed_outputs(path: Path) -> None:
    committed, fresh = read(path), read(path)
    NotebookClient(fresh, timeout=150, resources={"metadata": {"path": str(path.parent)}}).execute()
    for before, after in zip(code_cells(committed), code_cells(fresh), strict=True):
        if not tagged(before, "machine"):
            assert shown(after) == shown(before), before.source

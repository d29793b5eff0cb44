"""The notebooks as HTML that needs no network, with a start page and slides: ``python docs/export/export.py FOLDER``.

What is exported is what is committed: nothing is executed.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from pathlib import Path
from string import Template

import nbformat
from nbconvert import HTMLExporter, SlidesExporter
from nbconvert.filters import markdown2html
from nbformat import NotebookNode
from traitlets.config import Config

HERE = Path(__file__).parent
TOP = HERE.parents[1]
SLIDES = ("01", "03")  # what a workshop shows on the wall: one connect, and who is nearest


def export(folder: Path) -> list[Path]:
    """Write index.html, one page for each notebook and the decks; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = Config({"HTMLExporter": {"sanitize_html": False, "embed_images": True}})
    settings.TemplateExporter.extra_template_basedirs = [str(HERE)]
    page = HTMLExporter(template_name="page", config=settings)
    deck = SlidesExporter(template_name="deck", config=settings)
    written, entries = [], []
    for path in sorted(TOP.glob("notebooks/[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        _link_pages(notebook)
        resources = {"metadata": {"name": path.stem, "path": str(path.parent)}}
        targets = [(page, folder / f"{path.stem}.html", "read")]
        if path.stem.startswith(SLIDES):
            targets.append((deck, folder / f"{path.stem}.slides.html", "slides"))
        for exporter, target, _ in targets:
            source = _cut_into_slides(notebook) if exporter is deck else notebook
            text, _ = exporter.from_notebook_node(source, dict(resources))
            target.write_text(text, encoding="utf-8")
            written.append(target)
        entries.append(_entry(path.stem, notebook, {word: target.name for _, target, word in targets}))
    shutil.copy(TOP / "docs" / "images" / "shop.svg", folder)
    index = folder / "index.html"
    start = Template((HERE / "start.html").read_text(encoding="utf-8"))
    index.write_text(start.substitute(notebooks="\n".join(entries)), encoding="utf-8")
    return [index, *written]


def _link_pages(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(([^):/]+)\.ipynb(#[^)]*)?\)", r"](\1.html\2)", cell.source)


def _cut_into_slides(notebook: NotebookNode) -> NotebookNode:
    """A heading opens a slide, other prose a slide below it, code stays with the prose before it.

    The checks are left out: they stand below what they check, and would tell the answer while a room guesses.
    """
    notebook.cells = [cell for cell in notebook.cells if "check" not in cell.metadata.get("tags", ())]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            kind = "slide" if cell.source.startswith(("# ", "## ")) else "subslide"
            cell.metadata["slideshow"] = {"slide_type": kind}
    return notebook


def _entry(stem: str, notebook: NotebookNode, links: dict[str, str]) -> str:
    """One line of the start page: the title, the first paragraph, what can be opened."""
    title, _, rest = notebook.cells[0].source.partition("\n")
    first = rest.strip().partition("\n\n")[0]
    heading = re.sub("^<p>|</p>$", "", markdown2html(title.removeprefix("# ")).strip())
    anchors = " · ".join(f'<a href="{html.escape(name)}">{word}</a>' for word, name in links.items())
    return f"<li><h2>{stem[:2]} {heading}</h2>{markdown2html(first)}<p>{anchors}</p></li>"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("which folder? python docs/export/export.py FOLDER")
    for path in export(Path(sys.argv[1])):
        print(path)

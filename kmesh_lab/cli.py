"""The command ``kmesh-lab``: check the machine, clean up after dead labs, run a notebook."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from kmesh_lab.display import text_table
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.cgroup import remove_abandoned
from kmesh_lab.kernel.features import ALL, numbers
from kmesh_lab.lab import machine

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["app"]

HELP = "Check the machine, clean up after dead labs, run a notebook."
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)


@app.command()
def check() -> None:
    """Say what a lab needs, what this machine has, and which notebooks can run; exit 1 if no lab can."""
    checked = machine.check()
    system = os.uname()
    print(f"{system.sysname} {system.release} {system.machine}, {checked.platform.name}", end=", ")
    print(f"Python {platform.python_version()}\n")
    print(text_table([machine.HEADER, *checked.rows()]))
    able = [number for number in ALL if not any(number in feature.needed_by for feature in checked.missing)]
    unable = [number for number in ALL if number not in able]
    print(f"\nNotebooks that can run here: {numbers(able) or 'none'}")
    if unable:
        print(f"Notebooks that cannot: {numbers(unable)}")
    if checked.missing:
        print("", *checked.advice(), sep="\n")
    if not checked:
        raise typer.Exit(1)


@app.command()
def clean() -> None:
    """Remove what labs left behind whose process is dead; labs that run are not touched."""
    try:
        removed = remove_abandoned()
    except LabError as error:
        _fail(f"{type(error).__name__}: {error}")
    for line in removed:
        print(f"removed {line}")
    if not removed:
        print("nothing to clean")


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="an .ipynb file")],
    save: Annotated[bool, typer.Option("--save", help="write the outputs back into the file")] = False,
    timeout: Annotated[int, typer.Option(min=1, help="seconds that one cell may take")] = 60,
) -> None:
    """Execute a notebook from top to bottom in its folder; exit 1 at the first cell that fails."""
    import nbformat  # here, because it takes a second, which `check` and `clean` need not spend
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    try:
        node = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(node)
    except (nbformat.ValidationError, ValueError, TypeError, AttributeError):  # not JSON, or JSON of something else
        _fail(f"{notebook} is not a notebook: expected the JSON of an .ipynb file")
    running = 0

    def note(cell: NotebookNode, cell_index: int) -> None:
        nonlocal running
        running = cell_index

    # The one kernel that is found is the Python that runs this, whatever python3 means in ~/.local/share/jupyter.
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(
        node,
        km=kernel,
        timeout=timeout,
        resources={"metadata": {"path": str(notebook.resolve().parent)}},
        store_widget_state=False,
        on_cell_start=note,
    )
    try:
        client.execute(cleanup_kc=True)
    except CellExecutionError as error:
        _fail_cell(notebook, node, running, f"{error.ename}: {error.evalue}", _traceback(node.cells[running]))
    except CellTimeoutError:
        _fail_cell(notebook, node, running, f"it did not end within {timeout} s")
    except DeadKernelError:
        _fail_cell(notebook, node, running, "the kernel died")
    if save:
        _make_stable(node)
        text: str = nbformat.writes(node)  # type: ignore[no-untyped-call]
        notebook.write_text(text + "\n", encoding="utf-8")


def _make_stable(node: NotebookNode) -> None:
    """Take out what differs between two runs of the same notebook: times, random ids of widgets, versions."""
    node.metadata.pop("widgets", None)
    node.metadata.get("language_info", {}).pop("version", None)
    for cell in node.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET_VIEW, None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]


def _traceback(cell: NotebookNode) -> str:
    return "\n".join(line for output in cell.outputs if output.output_type == "error" for line in output.traceback)


def _fail_cell(notebook: Path, node: NotebookNode, index: int, reason: str, traceback: str = "") -> NoReturn:
    place = f"{notebook}: cell {index + 1} of {len(node.cells)}"
    source = "\n".join(f"    {line}" for line in node.cells[index].source.splitlines())
    _fail(f"{place} failed: {reason}\n\n{source}\n\n{traceback}")


def _fail(message: str) -> NoReturn:
    typer.echo(_ANSI.sub("", message).rstrip(), err=True)
    raise typer.Exit(1)

"""The command kmesh-lab: check, clean, run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from typer.testing import CliRunner, Result

from kmesh_lab import cli
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.cgroup import LabCgroup, cgroup2_mount
from kmesh_lab.kernel.features import FEATURES, Feature
from kmesh_lab.lab import machine

pytestmark = pytest.mark.root

COMMAND = [sys.executable, "-c", "from kmesh_lab.cli import app; app(prog_name='kmesh-lab')"]


def kmesh_lab(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(command, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)


def notebook(path: Path, *cells: str) -> Path:
    node = new_notebook(cells=[new_markdown_cell("# Is item 42 in stock?"), *map(new_code_cell, cells)])
    for number, cell in enumerate(node.cells):
        cell.id = f"cell-{number}"
    nbformat.write(node, path)
    return path


def outputs(path: Path) -> list[object]:
    return [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", ())]


def with_features(monkeypatch: pytest.MonkeyPatch, **absent: bool | None) -> None:
    """Let `check` find every feature present but those named; names are written with underscores."""

    def probe(feature: Feature) -> Feature:
        present = absent.get(feature.name.replace(" ", "_"), True)
        return replace(feature, present=present, how="trying it", remedy=feature.remedy or "use a newer kernel")

    monkeypatch.setattr(machine, "probe_all", lambda: [probe(feature) for feature in FEATURES])


def test_check_prints_one_line_for_each_feature_and_which_notebooks_can_run() -> None:
    result = kmesh_lab("check")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith(f"Linux {os.uname().release} ")
    assert lines[2].split("  ")[0] == "feature"
    column = lines[2].index("here")
    shown = [(line.split("  ")[0], line[column:].split()[0]) for line in lines[3:-2]]
    assert shown == [(feature.name, "yes") for feature in [*FEATURES, machine.PROGRAMS]]
    assert lines[-1] == "Notebooks that can run here: 00, 01, 02, 03, 04, 05, 06, 07, 08, 09"


def test_check_says_which_notebooks_cannot_run_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with_features(monkeypatch, packet_sockets=False)
    result = kmesh_lab("check")
    assert result.exit_code == 0  # a lab can run, notebook 04 cannot
    [line] = [line for line in result.output.splitlines() if line.startswith("packet sockets")]
    assert " ".join(line.split()) == "packet sockets NO trying it use a newer kernel (for 04, 05, 06)"
    assert "Notebooks that can run here: 00, 01, 02, 03, 07, 08, 09\n" in result.output
    assert "Notebooks that cannot: 04, 05, 06\n\nThis is " in result.output
    assert "`" in result.output.partition("\n\nThis is ")[2]  # a command or a setting of this platform


@pytest.mark.parametrize("state", [False, None])
def test_check_fails_when_no_lab_can_run(state: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with_features(monkeypatch, writable_cgroup2=state)
    result = kmesh_lab("check")
    assert result.exit_code == 1
    assert "Notebooks that can run here: none\n" in result.output


def test_check_by_a_user_who_is_not_root_says_what_was_not_tried() -> None:
    result = as_nobody("check")
    assert result.returncode == 1
    assert "root privileges                        NO" in result.stdout
    assert "sk_msg programs                        unknown  not tried: run as root\n" in result.stdout
    assert result.stdout.endswith(
        "The notebooks can be read without a lab: their outputs are those of an earlier run.\n"
    )
    assert result.stderr == ""


def test_clean_has_nothing_to_do_on_a_clean_machine(mountinfo: Path) -> None:
    result = kmesh_lab("clean")
    assert (result.exit_code, result.output) == (0, "nothing to clean\n")


def test_clean_removes_what_dead_labs_left_and_says_what(mountinfo: Path) -> None:
    dead = cgroup2_mount() / "kmesh-lab-0badcafe"
    (dead / "n1" / "shop").mkdir(parents=True)
    process = subprocess.Popen(["sleep", "60"])
    (dead / "n1" / "shop" / "cgroup.procs").write_text(str(process.pid))
    with LabCgroup.create() as living:
        result = kmesh_lab("clean")
        assert living.path.is_dir()
    assert result.exit_code == 0
    assert result.output == f"removed {dead}: 1 node, 1 pod, 1 running process\n"
    assert process.wait(1) == -signal.SIGKILL
    assert kmesh_lab("clean").output == "nothing to clean\n"


def test_clean_reports_what_it_could_not_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove_abandoned() -> list[str]:
        raise LabError("cgroup /x was not removed: what runs inside does not die; look at /x/cgroup.procs")

    monkeypatch.setattr(cli, "remove_abandoned", remove_abandoned)
    result = kmesh_lab("clean")
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr == "LabError: cgroup /x was not removed: what runs inside does not die; look at /x/cgroup.procs\n"
    )


def test_clean_by_a_user_who_is_not_root_says_so() -> None:
    result = as_nobody("clean")
    assert result.returncode == 1
    assert result.stderr.startswith("NotPrivileged: cgroup2 at ")


@pytest.mark.notebook
def test_run_executes_a_notebook_in_its_folder_with_this_python(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb", "import os, sys", "open('proof', 'w').write(f'{os.getcwd()} {sys.executable}')"
    )
    before = path.read_bytes()
    result = kmesh_lab("run", path)
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "proof").read_text() == f"{tmp_path} {sys.executable}"
    assert path.read_bytes() == before


@pytest.mark.notebook
def test_run_uses_this_python_whatever_kernel_the_user_has_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tmp_path / "share" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    assert kmesh_lab("run", notebook(tmp_path / "a.ipynb", "1")).exit_code == 0


@pytest.mark.notebook
def test_run_prints_the_cell_that_failed_with_its_source_and_stops(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "stock = {}", "item = 42\nstock[item]", "open('too-far', 'w')")
    before = path.read_bytes()
    result = kmesh_lab("run", "--save", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{path}: cell 3 of 4 failed: KeyError: 42\n\n    item = 42\n    stock[item]\n\n")
    assert "----> 2 stock[item]" in result.stderr
    assert "\x1b" not in result.stderr
    assert not (tmp_path / "too-far").exists()
    assert path.read_bytes() == before  # a failed run is not kept


@pytest.mark.notebook
def test_run_lets_a_cell_fail_that_is_tagged_for_it(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "1 / 0", "2")
    node = nbformat.read(path, as_version=4)
    node.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(node, path)
    assert kmesh_lab("run", path).exit_code == 0


@pytest.mark.notebook
def test_run_stops_a_cell_that_does_not_end(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "import time", "time.sleep(60)")
    result = kmesh_lab("run", "--timeout", "1", path)
    assert result.exit_code == 1
    assert result.stderr == f"{path}: cell 3 of 3 failed: it did not end within 1 s\n\n    time.sleep(60)\n"


@pytest.mark.notebook
def test_run_reports_a_kernel_that_dies(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "import os", "os._exit(1)")
    result = kmesh_lab("run", path)
    assert result.exit_code == 1
    assert result.stderr == f"{path}: cell 3 of 3 failed: the kernel died\n\n    os._exit(1)\n"


@pytest.mark.notebook
def test_run_save_writes_the_same_bytes_every_time(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb", "print('shop')\n42", "import ipywidgets as w\nw.IntSlider(description='load')"
    )
    assert kmesh_lab("run", "--save", path).exit_code == 0
    first = path.read_bytes()
    assert kmesh_lab("run", "--save", path).exit_code == 0
    assert path.read_bytes() == first
    assert first.endswith(b"}\n")
    assert outputs(path) == [
        {"name": "stdout", "output_type": "stream", "text": ["shop\n"]},
        {"data": {"text/plain": ["42"]}, "execution_count": 1, "metadata": {}, "output_type": "execute_result"},
        {
            "data": {"text/plain": ["IntSlider(value=0, description='load')"]},
            "execution_count": 2,
            "metadata": {},
            "output_type": "execute_result",
        },
    ]


@pytest.mark.notebook
def test_run_save_takes_out_timing_widget_state_and_versions(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "1")
    node = nbformat.read(path, as_version=4)
    node.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    node.cells[1].metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00.000000Z"}
    node.cells[1].metadata["tags"] = ["check"]
    nbformat.write(node, path)
    assert kmesh_lab("run", "--save", path).exit_code == 0
    saved = json.loads(path.read_text())
    assert "widgets" not in saved["metadata"]
    assert "version" not in saved["metadata"]["language_info"]
    assert saved["cells"][1]["metadata"] == {"tags": ["check"]}


@pytest.mark.parametrize("text", ["", "hello", "[]", "{}", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}'])
def test_run_of_a_file_that_is_not_a_notebook_says_so(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    result = kmesh_lab("run", path)
    assert result.exit_code == 1
    assert result.stderr == f"{path} is not a notebook: expected the JSON of an .ipynb file\n"


def test_run_of_a_file_that_does_not_exist_says_so(tmp_path: Path) -> None:
    result = kmesh_lab("run", tmp_path / "none.ipynb")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_a_lab_of_a_notebook_that_failed_is_gone(tmp_path: Path) -> None:
    make = "from kmesh_lab.kernel.cgroup import *\nfrom kmesh_lab.kernel.netns import *\nlab = LabCgroup.create()"
    path = notebook(
        tmp_path / "a.ipynb", f"{make}\nfabric = Fabric(lab.path)\nopen('path', 'w').write(str(lab.path))", "1 / 0"
    )
    assert kmesh_lab("run", path).exit_code == 1
    assert not Path((tmp_path / "path").read_text()).exists()

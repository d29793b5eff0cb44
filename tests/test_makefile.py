"""What the Makefile does on a fresh machine, with a package manager that only writes down what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
# As apt answers for a package with many versions: more than a pipe holds comes after the line that matters.
POLICY = """echo "$3:
  Installed: (none)
  Candidate: {candidate}
  Version table:"
seq 100000
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    """A folder of stand-ins for dpkg-query (nothing is installed) and apt-get (writes its last call to ``asked``)."""
    for name, script in {"dpkg-query": "exit 1", "apt-get": f'echo "$@" >{tmp_path}/asked'}.items():
        stand_in(tmp_path / name, script)
    return tmp_path


def stand_in(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def asked(apt: Path) -> list[str]:
    path = f"{apt}:{os.environ['PATH']}"
    subprocess.run(["make", "apt-run"], cwd=TOP, env={"PATH": path}, check=True, capture_output=True)
    return (apt / "asked").read_text().split()


def test_the_first_of_two_names_is_installed_where_the_distribution_has_it(apt: Path) -> None:
    stand_in(apt / "apt-cache", POLICY.format(candidate="7.1.0+6.1.192-2"))

    packages = asked(apt)

    assert "bpftool" in packages
    assert "linux-tools-common" not in packages


def test_the_second_of_two_names_is_installed_where_the_distribution_has_not_the_first(apt: Path) -> None:
    stand_in(apt / "apt-cache", POLICY.format(candidate="(none)"))

    packages = asked(apt)

    assert "linux-tools-common" in packages
    assert "bpftool" not in packages


@pytest.mark.parametrize("status", [0, 1])
def test_make_lab_tries_the_machine_and_trusts_the_notebooks_before_it_opens_them(tmp_path: Path, status: int) -> None:
    shutil.copy(TOP / "Makefile", tmp_path)
    for name in ("apt.txt", "requirements.lock", "pyproject.toml", ".venv/run.stamp"):  # as when all is installed
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv/bin").mkdir()
    stand_in(tmp_path / ".venv/bin/kmesh-lab", f"echo the verdict of $1; exit {status}")
    stand_in(tmp_path / ".venv/bin/jupyter", "echo jupyter $1, configured by $JUPYTER_CONFIG_PATH | tee -a calls")

    done = subprocess.run(["make", "lab"], cwd=tmp_path, check=True, capture_output=True, text=True)

    opened = f"jupyter lab, configured by {tmp_path / 'deploy' / 'jupyterlab'}"
    assert done.stdout.splitlines() == [*["the verdict of check"] * status, opened]
    assert (tmp_path / "calls").read_text().splitlines() == ["jupyter trust, configured by", opened]

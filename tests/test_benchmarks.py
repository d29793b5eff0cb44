"""The command python -m benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


def test_without_root_nothing_is_measured_and_the_status_says_so() -> None:
    command = [sys.executable, "-m", "benchmarks", "load"]
    top = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=top, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "benchmarks load programs and make namespaces: run them as root, this is user 65534\n"

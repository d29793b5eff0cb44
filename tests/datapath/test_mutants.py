"""The vectors can fail: each mistake planted in our C is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MUTANTS = Path(__file__).parents[1] / "mutants.py"


@pytest.mark.root
@pytest.mark.timeout(300)
def test_every_mutant_is_killed() -> None:
    done = subprocess.run([sys.executable, str(MUTANTS)], capture_output=True, text=True, check=False)
    others = [line for line in done.stdout.splitlines() if not line.startswith("killed ")]
    assert done.returncode == 0, "\n".join([*others, done.stderr])

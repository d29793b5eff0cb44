"""Measurements that need a Python of their own, because a process keeps what it has compiled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["in_fresh_process"]

_TOP = Path(__file__).resolve().parents[1]


def in_fresh_process(*arguments: str) -> dict[str, float]:
    """Run Python with these arguments and return the seconds that it prints as one JSON object."""
    command: Sequence[str] = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=_TOP, stdout=subprocess.PIPE, check=True)
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds

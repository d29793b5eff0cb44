"""The programs behave like Kmesh's: recorded vectors of the real ones, replayed against ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted((TESTS / "data" / "vectors").glob("*.json"))
TOOLCHAINS = ("bcc", "clang")

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """What the replay prints about all files and both toolchains; they are replayed at the same time."""
    command = [sys.executable, str(TESTS / "replay_vectors.py"), "--toolchain", "both", *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def ids(file: Path) -> set[str]:
    return {vector["id"] for vector in json.loads(file.read_text())["vectors"]}


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_behaves_as_recorded(file: Path, toolchain: str, printed: list[str]) -> None:
    heads = tuple(f"{name} [{toolchain}]: " for name in ids(file))
    assert "\n".join(line for line in printed if line.startswith(heads)) == ""


def test_every_vector_was_replayed(printed: list[str]) -> None:
    assert not [line for line in printed if ": not staged: " in line]
    words = printed[-1].replace(",", "").split()
    assert int(words[0]) + int(words[2]) == len(TOOLCHAINS) * sum(len(ids(file)) for file in FILES)

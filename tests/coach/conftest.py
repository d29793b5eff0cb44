"""C that the kernel refuses, one file for each rule of the coach; with -DFIXED it is what the coach advises."""

from __future__ import annotations

from pathlib import Path

import pytest

REJECTIONS = Path(__file__).with_name("rejections")


def cell(name: str) -> str:
    """The C of a rejection, without the marks that tests need."""
    return (REJECTIONS / f"{name}.c").read_text()


@pytest.fixture(scope="package")
def verdicts() -> dict[str, str]:
    """What the coach is expected to say, by the name of the rule: tests/coach/rejections/verdicts.txt."""
    text = (REJECTIONS / "verdicts.txt").read_text()
    parts = (part.partition("\n") for part in text.split("\n== ") if part.strip())
    return {name.removeprefix("== "): said.rstrip("\n") for name, _, said in parts}

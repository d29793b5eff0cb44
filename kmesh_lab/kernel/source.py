"""The C that was compiled, for showing: a file, a function, or the line that reported a step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kmesh_lab.errors import LabError

__all__ = ["Source", "enclosing_function", "find_source", "function_source", "short_path"]

_HEAD = re.compile(r"^(?:SEC\(|static |int |enum |struct |union )")
_NAME = re.compile(r"(\w+)\(")


@dataclass(frozen=True)
class Source:
    """Lines of one C file; in a notebook they are shown with colours."""

    path: Path
    first_line: int
    text: str

    def __repr__(self) -> str:
        last = self.first_line + self.text.count("\n")
        return f"<Source {self.path.name} lines {self.first_line}–{last}>"

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        last = self.first_line + self.text.count("\n")
        return f"`{short_path(self.path)}`, lines {self.first_line} to {last}\n\n```c\n{self.text}\n```"


def find_source(bpf_dir: Path, name: str) -> Path:
    """The file called ``name`` in ``bpf/`` or ``bpf/include/``."""
    if not isinstance(name, str):
        raise LabError(f"{name!r} is no file of bpf/: write its name, 'service.h' for example")
    for path in (bpf_dir / name, bpf_dir / "include" / name):
        if path.is_file():
            return path
    known = sorted(path.name for path in [*bpf_dir.glob("*.c"), *bpf_dir.glob("include/*.h")])
    raise LabError(f"no C file {name!r} in bpf/: there are {', '.join(known)}")


def function_source(path: Path, name: str | None) -> Source:
    """One function (or struct, or enum) with the comment above it; the whole file when ``name`` is None."""
    lines = path.read_text().splitlines()
    if name is None:
        return Source(path, 1, "\n".join(lines))
    for start, head in _definitions(lines):
        if name not in (head, head.split()[-1]):
            continue
        ends = (number for number in range(start, len(lines)) if lines[number].startswith("}"))
        end = next(ends, len(lines) - 1)
        while start > 0 and _belongs(lines[start - 1]):
            start -= 1
        return Source(path, start + 1, "\n".join(lines[start : end + 1]))
    known = ", ".join(head for _, head in _definitions(lines))
    raise LabError(f"no function {name!r} in {path.name}: it has {known}")


def enclosing_function(path: Path, line: int) -> str:
    """The function that line ``line`` (from 1) of a file is in."""
    name = ""
    for start, head in _definitions(path.read_text().splitlines()):
        if start >= line:
            break
        name = head
    return name


def _definitions(lines: list[str]) -> Iterator[tuple[int, str]]:
    """(index of the first line, name) of every function, struct and enum with a body."""
    for number, line in enumerate(lines):
        if not _HEAD.match(line) or line.endswith(";") or line.startswith("SEC("):
            continue
        if line.startswith(("enum", "struct", "union")) and line.endswith("{") and "(" not in line:
            yield number, line.removesuffix("{").strip()
        elif match := _NAME.search(line.replace("__attribute__((packed))", "")):
            yield number, match[1]


def _belongs(line: str) -> bool:
    return line.startswith(("SEC(", "/*", " *", "//"))


def short_path(path: Path | str) -> str:
    """``bpf/include/service.h``: a path without the folders above ``bpf/``."""
    _, inside, name = str(path).rpartition("/bpf/")
    return f"{'bpf/' if inside else ''}{name}"

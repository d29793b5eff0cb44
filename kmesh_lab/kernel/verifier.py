"""What the verifier says, in one sentence."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable

from kmesh_lab.display import counted
from kmesh_lab.errors import KernelNotSupported, LabError, NotPrivileged, VerifierError
from kmesh_lab.kernel.source import short_path

__all__ = ["verifier_error"]

_PLACE = re.compile(r"(.*) @ (\S+):(\d+)$")
_NOISE = re.compile(
    r"^(;|\d+: |processed \d+ insns|verification time|stack depth|\s*$|from \d+ to|R\d+(_\w+)?=|frame\d+: "
    r"|(cur|old) state: |caller:|callee:|returning from callee|to caller at)"
)
# "10: (2d) if r1 > r2 goto pc-5 infinite loop detected at insn 6": no new line before what is wrong with the step.
_BEHIND_A_JUMP = re.compile(r"^\d+: \(\w\w\) .*goto pc[+-]\d+ (?!;|\d+: |R\d)(?=\w)")


def verifier_error(program: str, log: str, code: int, files: Iterable[str] = (), end: str = "") -> LabError:
    """The error for a refused program: the verifier's last words and the line of C they are about.

    An empty log means that the verifier was never asked, because the kernel does not know the program type. ``files``
    are the paths of the sources: the kernel writes only the last part of a path into the log. ``end`` is the end of the
    log with the lines of C, if the log itself has none.
    """
    if not log.strip() and code == errno.EPERM:
        return NotPrivileged(f"program {program} was not loaded: {os.strerror(code)}; run as root")
    if not log.strip():
        return KernelNotSupported(
            f"program {program} was not loaded: {os.strerror(code)}; `kmesh-lab check` says what is missing"
        )
    lines = log.strip().splitlines()
    said = (_BEHIND_A_JUMP.sub("", line) for line in lines)
    reasons = [line for line in said if not _NOISE.match(line)]
    reason = (reasons or lines)[-1].rstrip(".")
    file, line, text = _place((end or log).splitlines(), files)
    where = f" ({short_path(file)}:{line})" if line else f" (at `{text}`)" if text else ""
    what = f"program {program} was rejected: {reason}{where}"
    size = f"The whole log is in .log ({counted(len(lines), 'line')})."
    return VerifierError(f"{what}. {size}", program, log, reason, file, line, text)


def _place(lines: Iterable[str], files: Iterable[str]) -> tuple[str, int, str]:
    """The last line of C in a log: file, number, text. Before Linux 6.9 the log has its text but not its number."""
    for each in reversed(list(lines)):
        place = _PLACE.search(each)
        if place and place[3] != "0":  # 0: code that the compiler made by itself
            text, name, line = place.groups()
            paths = [path for path in files if path.rpartition("/")[2] == name]
            return paths[0] if len(set(paths)) == 1 else name, int(line), _text(text)
        if not place and each.startswith("; "):
            return "", 0, _text(each)
    return "", 0, ""


def _text(line: str) -> str:
    """A line of C without the mark of the log; nothing if the log begins in the middle of it."""
    return line.removeprefix(";").strip() if line.startswith(";") else ""

"""What bcc made of some C, kept for the next process: half a second of compiling becomes a few milliseconds.

One file for each request, in the virtual environment, so that it goes when that goes. Its name is a digest of all that
the result depends on: the C, the switches, the stub headers, bcc's version and the kernel, whose verifier has taken the
programs. What was refused is never kept. Without a virtual environment, or where it cannot be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from kmesh_lab.kernel import bcc_process
from kmesh_lab.kernel.bcc_process import Request, Result

__all__ = ["FOLDER", "kept"]

FOLDER = Path(sys.prefix) / "var/cache/kmesh-lab" if sys.prefix != sys.base_prefix else None
_FILES = 128  # the newest, of 50 KB each: all mutants of a grade, and the cells of a learner who edits C
_OTHERS_MAY_WRITE = 0o022


def kept(request: Request, headers: Path, compile_it: Callable[[], Result]) -> Result:
    """The result of an earlier process for the same request, else that of ``compile_it``, which is then kept."""
    if FOLDER is None or "BCC_KERNEL_SOURCE" in os.environ:  # headers of somebody else, which may change
        return compile_it()
    file = FOLDER / _digest(request, headers)
    result = _read(file)
    if result is None:
        result = compile_it()
        if result.failure is None:
            with suppress(OSError):
                _write(file, result)
    return result


def _digest(request: Request, headers: Path) -> str:
    bcc = importlib.util.find_spec("bcc")
    sources = [Path(bcc_process.__file__), *sorted(path for path in headers.rglob("*") if path.is_file())]
    if bcc and bcc.origin:
        sources.append(Path(bcc.origin).with_name("version.py"))
    files = [(path.name, path.read_bytes()) for path in sources if path.exists()]
    return hashlib.sha256(repr((request, files, tuple(os.uname()), sys.version)).encode()).hexdigest()


def _read(file: Path) -> Result | None:
    """None if there is none, it is damaged, or somebody else could have written it: unpickling runs what it says."""
    try:
        with file.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_MAY_WRITE:
                return None
            result = pickle.load(stream)
        os.utime(file)
    except Exception:
        return None
    return result if isinstance(result, Result) else None


def _write(file: Path, result: Result) -> None:
    """Whole or not at all, whoever else writes the same."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent)
    try:
        with open(descriptor, "wb") as stream:
            pickle.dump(result, stream)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
    _forget(sorted(file.parent.iterdir(), key=_age)[_FILES:])


def _age(file: Path) -> float:
    with suppress(FileNotFoundError):  # another process was faster
        return -file.stat().st_mtime
    return 0.0


def _forget(files: Iterable[Path]) -> None:
    for each in files:
        each.unlink(missing_ok=True)

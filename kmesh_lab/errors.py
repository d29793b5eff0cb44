"""The errors of the lab: each names the thing, the value and the next step.

A wrong *value* (an unknown policy, a malformed address, a port out of range) is the built-in ``ValueError``.
What the lab or the kernel cannot do is a `LabError`::

    LabError                 the lab refuses: a duplicate name, an object of another lab, a closed lab
    ├── NotPrivileged        not root, or a capability is missing
    ├── KernelNotSupported   this kernel has no such program type, map type or helper
    ├── CgroupUnavailable    cgroup2 is not mounted, or mounted read-only
    ├── CompileError         clang refused the C; the compiler's whole output is in ``.log``
    ├── VerifierError        the kernel refused the program; the verifier's whole output is in ``.log``
    ├── MapFull              a km_* map has no room for a row; the maps are as before
    └── PodGone              the process of a pod has ended
"""

from __future__ import annotations

__all__ = [
    "CgroupUnavailable",
    "CompileError",
    "KernelNotSupported",
    "LabError",
    "MapFull",
    "NotPrivileged",
    "PodGone",
    "VerifierError",
]


class LabError(Exception):
    """The lab cannot do what was asked; its state is as before."""


class NotPrivileged(LabError):
    """The process lacks a privilege that loading programs or making namespaces needs."""


class KernelNotSupported(LabError):
    """The running kernel lacks a feature; the message names its CONFIG option and first version."""


class CgroupUnavailable(LabError):
    """There is no writable cgroup2 hierarchy to make a node in."""


class CompileError(LabError):
    """The C did not compile.

    ``log`` is everything the compiler printed.
    """

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


class VerifierError(LabError):
    """The kernel's verifier rejected a program.

    ``program`` is the C function, ``log`` is everything the verifier printed, ``reason`` its last words; ``file``,
    ``line`` and ``text`` are the line of C they are about: "", 0 and "" where the log does not say.
    """

    def __init__(
        self, message: str, program: str, log: str, reason: str = "", file: str = "", line: int = 0, text: str = ""
    ) -> None:
        super().__init__(message)
        self.program, self.log, self.reason = program, log, reason
        self.file, self.line, self.text = file, line, text


class MapFull(LabError):
    """A map has no room left (E2BIG or ENOSPC); nothing of the refused change remains."""


class PodGone(LabError):
    """The process of a pod has ended, so nothing can run inside it any more."""

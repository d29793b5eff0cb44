"""A cell of C: compiled, shown to the verifier, and, if it is wished, attached to a node."""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from kmesh_lab.coach.advice import advise
from kmesh_lab.coach.verdict import Loaded, Verdict
from kmesh_lab.errors import CgroupUnavailable, CompileError, LabError, NotPrivileged, VerifierError
from kmesh_lab.kernel.compiler import BPF_DIR, Image, compile_text, flatten
from kmesh_lab.kernel.program import Link, Module
from kmesh_lab.lab import Node

__all__ = ["coach"]

_CELL = BPF_DIR / "cell.c"  # where the cell would be if it were a file: it includes ours as our files do
_MAIN = BPF_DIR / "cell_main.c"
_PROLOGUE = '#include "include/maps.h"\n#include "include/tlv.h"\n#include "cell.c"\n'
_NO_PROGRAM = (
    'there is no program in this cell. A program is a function with its hook in front: SEC("cgroup/connect4") and '
    "then, at the beginning of a line, int name(struct bpf_sock_addr *ctx)"
)
_PROGRAM = re.compile(r'^SEC\("[^"]*"\)\s+\w+ \w+\(', re.MULTILINE)
_MAX_LINES = 20_000

_attached: weakref.WeakKeyDictionary[Node, dict[str, Link]] = weakref.WeakKeyDictionary()


def coach(text: str, *, attach: Node | None = None, defines: Mapping[str, object] | None = None) -> Verdict:
    """Compile the C of a cell and let the verifier see each program; a rejection is a verdict, not an exception.

    The lab's headers are included already. With ``attach`` the accepted programs run on a node, behind its own and with
    its maps; a program of the same name that a cell attached before is replaced. Only a node of a closed lab and a
    machine that cannot load programs raise, with an error of `kmesh_lab.errors`.
    """
    if attach is not None:
        attach.lab.require_open()
    if text.count("\n") > _MAX_LINES:
        return Verdict("not compiled", f"the cell has more than {_MAX_LINES:,} lines; a program is far shorter")
    if not _PROGRAM.search(text):
        return Verdict("not loaded", _NO_PROGRAM)
    try:
        image = compile_text(flatten(_MAIN, lambda path: _read(path, text)), defines or {}, hurry=True)
    except (CompileError, VerifierError) as error:
        return _refused(error, text)
    except (NotPrivileged, CgroupUnavailable):
        raise
    except LabError as error:
        return Verdict("not loaded", str(error))
    loaded = [Loaded(each.name, each.section, len(each.instructions) // 8) for each in image.programs.values()]
    if not loaded:  # switched off by an #if
        return Verdict("not loaded", _NO_PROGRAM)
    names = ", ".join(each.name for each in loaded)
    notes = _attach(image, attach) if attach is not None else []
    return Verdict("accepted", f"the kernel would run {names}", loaded=loaded, notes=notes)


def _read(path: Path, text: str) -> str | None:
    if path in (_CELL, _MAIN):
        return text if path == _CELL else _PROLOGUE
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _refused(error: CompileError | VerifierError, text: str) -> Verdict:
    advice = advise(error, text, _CELL.name)
    lines = text.splitlines()
    source = lines[advice.line - 1].strip() if 0 < advice.line <= len(lines) else ""
    place = f"line {advice.line}" if source else "the log does not say at which line"
    if isinstance(error, VerifierError):
        return Verdict("rejected", f"program {advice.program}, {place}", source, advice)
    return Verdict("not compiled", place if source else advice.reason, source, advice)


def _attach(image: Image, node: Node) -> list[str]:
    """Attach every program of the image to the node, each in place of the one that a cell attached under its name.

    All or none: what ran before is detached when everything new is there.
    """
    links: dict[str, Link] = {}
    notes = []
    try:
        with closing(Module(image, reuse=node.datapath.maps)) as module:  # what is attached stays: the link holds it
            for name, section in module.sections.items():
                if section == "sk_msg":
                    notes.append(f"{name} is not attached: km_socket has room for one sk_msg program, the node's own")
                else:
                    links[name] = node.datapath.attach(module.load(name))
    except (LabError, OSError) as error:
        for link in links.values():
            link.close()
        return [f"not attached: {error}"]
    before = _attached.setdefault(node, {})
    for name, link in links.items():
        earlier = before.get(name)
        before[name] = link
        if earlier is not None:
            earlier.close()
        notes.append(f"{name} is attached to {node.name}{', in place of the one from before' if earlier else ''}")
    return notes

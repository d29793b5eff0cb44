"""From an error of the compiler or the verifier to advice, or to "not known"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kmesh_lab.coach.rule import Rule
from kmesh_lab.coach.rules import COMPILER_RULES, RULES
from kmesh_lab.errors import CompileError, VerifierError
from kmesh_lab.kernel.source import enclosing_function

__all__ = ["Advice", "advise", "hook"]

_PROGRAM = re.compile(r'SEC\("([^"]+)"\)\s+int (\w+)\(struct \w+ \*(\w+)\)')
_DEREFERENCED = re.compile(r"(?<![\w)] )\*(\w+)|\b(\w+(?:->\w+)*)(?=->)|\b(\w+)\[|submit\((\w+)")
_TAKEN = re.compile(r"(\w+) = \S*(?:reserve|lookup|create|storage_get)\w*\(")
_INDEXED = re.compile(r"(\w+)\[([^\]]+)\]")
_LOOP = re.compile(r"\b(?:for|while|do)\b(?=\s*[({])")
_TOO_MANY_STEPS = re.compile("too complex|too large")  # for these the log has steps, but no line
_CLANG = re.compile(r"^(\S*):(\d+):\d+: (?:fatal )?error: (.*)$", re.MULTILINE)
_LLVM = re.compile(r"^error: (\S+):(\d+):\d+: in function \w+ [^:]*: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class _Hook:
    """What a program of this hook may read and write of its context, and how it lets things go on (linux/bpf.h)."""

    go_on: str
    readable: str
    writable: str


_SOCK_ADDR = "user_family, {}, user_port, family, type, protocol and sk"
_HOOKS = {
    "cgroup/connect4": _Hook("return 1;", _SOCK_ADDR.format("user_ip4"), "user_ip4 and user_port"),
    "cgroup/connect6": _Hook("return 1;", _SOCK_ADDR.format("user_ip6"), "user_ip6 and user_port"),
    "cgroup/sendmsg4": _Hook("return 1;", _SOCK_ADDR.format("user_ip4, msg_src_ip4"), "all three addresses and ports"),
    "cgroup/recvmsg4": _Hook("return 1;", _SOCK_ADDR.format("user_ip4"), "user_ip4 and user_port"),
    "sockops": _Hook("return 0;", "the fields of struct bpf_sock_ops", "reply, replylong and sk_txhash"),
    "sk_msg": _Hook("return SK_PASS;", "the fields of struct sk_msg_md", "none; the data by data and data_end"),
    "cgroup_skb/": _Hook("return 1;", "most fields of struct __sk_buff", "mark, priority, tstamp and cb"),
}
_ANY = _Hook("return 0;", "the fields in linux/bpf.h", "few")


def hook(section: str) -> _Hook:
    """What is known about the hook of a section name."""
    return next((known for name, known in _HOOKS.items() if section.startswith(name)), _ANY)


@dataclass(frozen=True)
class Advice:
    """What to say about a rejection. ``rule`` is None when the coach does not know it; then only ``reason`` is said.

    ``line`` counts from 1 in the cell, 0: not known; ``inside`` is the place in a header of ours, if the line of the
    cell calls what is there.
    """

    program: str
    reason: str
    log: str
    line: int
    inside: str
    rule: Rule | None
    means: str = ""
    fix: str = ""
    code: str = ""


def advise(error: CompileError | VerifierError, text: str, file: str) -> Advice:
    """Advice about the C ``text`` of a cell, which the compiler knows as ``file``."""
    if isinstance(error, VerifierError):
        line, inside = _place(error, text, file)
        if not line and _TOO_MANY_STEPS.search(error.reason):
            line = _only_loop(text)
        return _advice(RULES, error.program, error.reason, error.log, line, inside, text)
    program, reason, line = "", str(error).partition(". The compiler's whole")[0], 0
    for place in (_CLANG, _LLVM):
        if found := place.search(error.log):
            reason = found[3].rstrip(".")
            line = int(found[2]) if found[1].endswith(file) else 0
            break
    return _advice(COMPILER_RULES, program, reason, error.log, line, "", text)


def _place(error: VerifierError, text: str, file: str) -> tuple[int, str]:
    """The line of the cell; and for one that calls a function of ours, where in that the verifier stopped."""
    if error.file.endswith(file) or not error.line:
        return error.line, ""
    header = Path(error.file)
    function = enclosing_function(header, error.line) if header.is_file() else ""
    calls = [number for number, line in enumerate(text.splitlines(), 1) if function and f"{function}(" in line]
    last = re.findall(rf"@ {re.escape(file)}:(\d+)$", error.log, re.MULTILINE)[-1:]
    calls = [number for number in calls if [str(number)] == last] or calls
    return (calls[0] if len(calls) == 1 else 0), f"{function or header.name}, line {error.line} of {header.name}"


def _only_loop(text: str) -> int:
    """The line of the loop, if there is one and no second; else 0."""
    loops = [number for number, line in enumerate(text.splitlines(), 1) if _LOOP.search(line)]
    return loops[0] if len(loops) == 1 else 0


def _advice(rules: Sequence[Rule], program: str, reason: str, log: str, line: int, inside: str, text: str) -> Advice:
    lines = text.splitlines()
    blamed = lines[line - 1] if 0 < line <= len(lines) else ""
    for rule in rules:
        groups = rule.match(reason, log, blamed)
        if groups is not None:
            names = {**_names(program, text, blamed), **groups}
            if {"at", "used"} <= groups.keys():
                names["end"] = str(int(groups["at"]) + int(groups["used"]))
            words = (each.format_map(names) for each in (rule.means, rule.fix, rule.code))
            return Advice(program, reason, log, line, inside, rule, *words)
    return Advice(program, reason, log, line, inside, None)


def _names(program: str, text: str, blamed: str) -> dict[str, str]:
    """What the C calls the things that an advice speaks of; a general word where it is not certain."""
    programs = {name: (section, context) for section, name, context in _PROGRAM.findall(text)}
    section, context = programs.get(program, ("", "ctx"))
    pointer = _only({name for found in _DEREFERENCED.findall(blamed) for name in found if name} - {context}, "")
    pointer = pointer or _only(set(_TAKEN.findall(text)), "pointer")
    array, index = next(iter(_INDEXED.findall(blamed)), ("", ""))
    declared = re.search(rf"(\w+) \*{re.escape(pointer)}\b", text)
    return {
        "pointer": pointer,
        "type": declared[1] if declared else "void",
        "index": index if index.isidentifier() else "index",
        "count": _only(set(re.findall(rf"\b{array}\[(\d+)\]", text)), "N") if array else "N",
        "context": context,
        **asdict(hook(section)),
    }


def _only(names: set[str], otherwise: str) -> str:
    return names.pop() if len(names) == 1 else otherwise

"""C source → instructions, by bcc.

So a learner can edit C in a cell and see it run. Kernel headers are never needed: the programs use UAPI structs only,
and ``bpf/stubs`` is all the source tree that bcc asks for. What comes out is an `Image`: it can be loaded as often as
there are nodes, and compiling the same text again costs nothing.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kmesh_lab.display import counted
from kmesh_lab.errors import CompileError, LabError, NotPrivileged
from kmesh_lab.kernel import bcc_process
from kmesh_lab.kernel.bcc_process import Refusal, Request, Result
from kmesh_lab.kernel.cache import kept
from kmesh_lab.kernel.libbpf import call
from kmesh_lab.kernel.maps import Layout
from kmesh_lab.kernel.source import short_path
from kmesh_lab.kernel.verifier import verifier_error

__all__ = ["BPF_DIR", "Image", "MapSpec", "ProgramSpec", "compile_c", "compile_text", "flatten", "hook_of"]

BPF_DIR = Path(__file__).resolve().parents[2] / "bpf"
_STUBS = BPF_DIR / "stubs"

_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
_PROGRAM = re.compile(r'^SEC\("([^"]+)"\)\s+\w+ (\w+)\(', re.MULTILINE)
_FILE = re.compile(r'^#line \d+ "(.+)"$', re.MULTILINE)
_HURRY, _PATIENCE = 10, 60  # seconds; our own programs need one
_LD_IMM64, _PSEUDO_MAP_FD, _INSTRUCTION = 0x18, 1, 8
_CTYPES = {
    "_Bool": ctypes.c_bool,
    "char": ctypes.c_char,
    "unsigned char": ctypes.c_ubyte,
    "short": ctypes.c_short,
    "unsigned short": ctypes.c_ushort,
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "long": ctypes.c_long,
    "unsigned long": ctypes.c_ulong,
    "long long": ctypes.c_longlong,
    "unsigned long long": ctypes.c_ulonglong,
    "__int128": ctypes.c_int64 * 2,
    "unsigned __int128": ctypes.c_uint64 * 2,
}


def _read(path: Path) -> str | None:
    """The text of a file; None if there is no such file."""
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CompileError(f"{short_path(str(path))}:{line}: not UTF-8; save the file as UTF-8", "") from None


def flatten(source: Path, read: Callable[[Path], str | None] = _read) -> str:
    """The text of a C file with its own includes put in, each once, and #line marks so that errors name the real file.

    bcc rewrites map accesses and makes programs only in the main file, so there has to be one. ``read`` gives the text
    of a file, which need not be the one on the disk.
    """
    seen: set[Path] = set()

    def expand(path: Path, text: str) -> Iterator[str]:
        seen.add(path)
        yield f'#line 1 "{path}"'
        for number, line in enumerate(text.splitlines(), 1):
            match = _INCLUDE.match(line)
            included = (path.parent / match[1]).resolve() if match else path
            inside = read(included) if match else None
            if inside is None:  # a file that is missing is left to the compiler, which says so
                yield line
                # bcc puts a line of its own before every function and one after its brace
                if "{" in line and line[0] not in " \t#" and not line.endswith("\\"):
                    yield f'#line {number + 1} "{path}"'
            elif included not in seen:
                yield from expand(included, inside)
                yield f'#line {number + 1} "{path}"'
            else:
                yield ""

    source = source.resolve()
    text = read(source)
    if text is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
    return "\n".join(expand(source, text)) + "\n"


@dataclass(frozen=True)
class MapSpec:
    """What the kernel wants to know to make a map; ``key`` and ``value`` are the layouts of a row."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    btf_key: int
    btf_value: int
    key: Layout
    value: Layout


@dataclass(frozen=True)
class ProgramSpec:
    """Instructions, and the places among them where the descriptor of a map belongs: byte offset → map."""

    name: str
    section: str
    instructions: bytes
    maps: Mapping[int, str]


@dataclass(frozen=True)
class Image:
    """A compiled translation unit. ``text`` is the flattened source, ``btf`` the types of its maps."""

    text: str
    maps: Mapping[str, MapSpec]
    programs: Mapping[str, ProgramSpec]
    btf: bytes


def compile_c(source: Path, defines: Mapping[str, object]) -> Image:
    """Compile ``source`` with ``-D`` switches and let the verifier see every program once.

    Raises `CompileError` and `kmesh_lab.errors.VerifierError`. Half a second the first time, milliseconds in
    the next process (`kmesh_lab.kernel.cache`), nothing in the same one.
    """
    return compile_text(flatten(source), defines)


def compile_text(text: str, defines: Mapping[str, object], *, hurry: bool = False) -> Image:
    """The same for C that is flat already; its #line marks say which file a line is of.

    A program that never ends for the verifier has a log of a million lines, which takes ten seconds to write down. In a
    ``hurry`` an error has only the end of such a log, and the compiler is stopped after 10 s instead of 60.
    """
    flags = tuple(f"-D{name}={value}" for name, value in {"KL_BCC": 1, **defines}.items())
    return _compile(text, flags, hurry)


@lru_cache(maxsize=32)
def _compile(text: str, flags: tuple[str, ...], hurry: bool) -> Image:
    sections = {name: section for section, name in _PROGRAM.findall(text)}
    hooks = tuple((name, *hook_of(section)) for name, section in sections.items())
    request = Request(text, flags, hooks, whole_log=not hurry)
    result = kept(request, _STUBS, lambda: _run_bcc(request, _HURRY if hurry else _PATIENCE))
    if isinstance(result.failure, Refusal):
        refusal = result.failure
        raise verifier_error(refusal.program, refusal.log, refusal.code, _FILE.findall(text), refusal.end)
    maps = {descriptor: _map_spec(*described) for descriptor, described in result.maps.items()}
    programs = {
        name: ProgramSpec(name, sections[name], code, {at: maps[fd].name for at, fd in _map_references(code)})
        for name, code in result.programs.items()
    }
    return Image(text, {spec.name: spec for spec in maps.values()}, programs, result.btf)


def _run_bcc(request: Request, seconds: int) -> Result:
    """Have a process of its own compile; whatever happens to that one, here it becomes an exception."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", bcc_process.__file__],
            input=pickle.dumps(request),
            capture_output=True,
            cwd="/",
            env={"BCC_KERNEL_SOURCE": str(_STUBS), **os.environ},
            start_new_session=True,  # Ctrl-C in the terminal is for this process
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace")
        raise CompileError(f"the C did not compile within {seconds} s; make it smaller", said) from None
    said = done.stderr.decode(errors="replace")
    if "No module named 'bcc'" in said:
        raise LabError(
            "Python cannot import bcc: install Debian's package python3-bpfcc and link it into the venv (make lab does)"
        )
    if done.returncode:
        raise _not_compiled(said, f"the compiler ended with status {done.returncode}")
    result: Result = pickle.loads(done.stdout)
    if isinstance(result.failure, str):
        raise _not_compiled(said, result.failure)
    return result


def _map_spec(name: str, info: Mapping[str, int], key: Any, value: Any) -> MapSpec:
    sizes = (info["key_size"], info["value_size"], info["max_entries"], info["map_flags"])
    btf = (info["btf_key_type_id"], info["btf_value_type_id"])
    layouts = (_layout(key, info["key_size"]), _layout(value, info["value_size"]))
    return MapSpec(name, info["type"], *sizes, *btf, *layouts)


def _layout(description: Any, size: int) -> Layout:
    """Raw bytes if bcc has described a type wrongly, as it does with an array of arrays; size 0: not known."""
    layout = Layout(_ctype(description))
    return layout if size in (0, layout.size) else Layout(ctypes.c_char * size)


def _ctype(description: Any) -> Any:
    """bcc's description of a C type, which is JSON, as ctypes: a name, or [name, members, "struct" or "union"]."""
    if isinstance(description, str):
        return _CTYPES[description]
    name, members, kind = description
    fields: list[Any] = []
    for member in members:
        if isinstance(member[-1], str) and len(member) == 3:  # a struct or union inside; it may have no name
            label = member[0] or f"__anon{sum(field[0].startswith('__anon') for field in fields)}"
            fields.append((label, _ctype(member)))
        elif len(member) == 3 and isinstance(member[2], list):
            fields.append((member[0], _ctype(member[1]) * math.prod(member[2])))
        else:  # a plain member, or one with a number of bits
            fields.append((member[0], _ctype(member[1]), *member[2:]))
    base = ctypes.Union if kind == "union" else ctypes.Structure
    packed = {"_pack_": 1} if kind == "struct_packed" else {}
    return type(name, (base,), {**packed, "_fields_": fields})


def _map_references(code: bytes) -> Iterator[tuple[int, int]]:
    """(byte offset of the immediate, descriptor) of each instruction that loads the address of a map."""
    at = 0
    while at < len(code):
        wide = code[at] == _LD_IMM64
        if wide and code[at + 1] >> 4 == _PSEUDO_MAP_FD:
            yield at + 4, int.from_bytes(code[at + 4 : at + 8], "little")
        at += 2 * _INSTRUCTION if wide else _INSTRUCTION


def hook_of(section: str) -> tuple[int, int]:
    """Program type and attach type (``BPF_PROG_TYPE_*``, ``BPF_*``) of a section name, as libbpf maps them."""
    program_type, attach_type = ctypes.c_int(), ctypes.c_int()
    try:
        call("libbpf_prog_type_by_name", section.encode(), ctypes.byref(program_type), ctypes.byref(attach_type))
    except OSError:
        raise LabError(f"unknown section {section!r}: libbpf has no such hook; cgroup/connect4 is one") from None
    return program_type.value, attach_type.value


def _not_compiled(log: str, reason: str) -> LabError:
    size = f"The compiler's whole output is in .log ({counted(len(log.splitlines()), 'line')})."
    if clang := re.search(r"^(.+?):(\d+):\d+: (?:fatal )?error: (.*)$", log, re.MULTILINE):
        return CompileError(f"{short_path(clang[1])}:{clang[2]}: {clang[3]}. {size}", log)
    if llvm := re.search(r"^error: (.+?):(\d+):\d+: in function (\w+) .*?: (.*?)\.?$", log, re.MULTILINE):
        place = f"{short_path(llvm[1])}:{llvm[2]}, " if llvm[2] != "0" else ""
        return CompileError(f"{place}function {llvm[3]}: {llvm[4]}. {size}", log)
    if os.strerror(errno.EPERM) in log:  # bcc has made the maps by then
        return NotPrivileged("the maps were not made: Operation not permitted; run as root")
    said = log.strip().splitlines()
    # For example "could not open bpf map: kl_trace, error: Invalid argument".
    return CompileError(f"the C did not compile: {said[-1] if said else reason}. {size}", log)

"""bcc at work, in a process of its own: ``python -I bcc_process.py``, a `Request` on stdin, a `Result` on stdout.

LLVM ends the process it runs in on some errors in the C, such as 600 bytes on a stack of 512. bcc changes the working
directory and writes errors to descriptor 2. None of that may happen to a notebook. What the compiler says goes to
stderr. The maps that bcc makes end with this process: what leaves it is data.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

__all__ = ["Refusal", "Request", "Result"]

# A function that nobody has declared is one that the kernel does not have; what LLVM and the verifier say is far away.
_WARNINGS = ("-Wno-macro-redefined", "-Wno-duplicate-decl-specifier", "-Werror=implicit-function-declaration")
_LOG_SIZE = 256 << 20
_LOG_END = 256 << 10  # bytes that are kept when nobody asks for the whole log
_STEPS, _SUMMARY = 1, 4  # BPF_LOG_LEVEL1, BPF_LOG_STATS
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNS, _MS_BIND, _MS_PRIVATE_ALL = 0x20000, 0x1000, 0x44000  # the last is MS_PRIVATE | MS_REC
_PTR, _INT, _UINT, _STR = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p


@dataclass(frozen=True)
class Request:
    """C to compile, and (name, program type, attach type) of the programs that it may have.

    Without ``whole_log`` the end of the verifier's log is enough.
    """

    text: str
    flags: tuple[str, ...]
    programs: tuple[tuple[str, int, int], ...]
    whole_log: bool = True


@dataclass(frozen=True)
class Refusal:
    """A program that the kernel did not take, by the errno; ``log`` is the verifier's, ``end`` its end with the C."""

    program: str
    code: int
    log: str
    end: str


@dataclass(frozen=True)
class Result:
    """What bcc made of it.

    ``maps`` has, by descriptor, the name, what the kernel says about the map, and bcc's descriptions of key and value;
    ``programs`` has instructions with those descriptors in them. ``failure`` is what went wrong, a text if it was
    bcc itself.
    """

    maps: dict[int, tuple[str, dict[str, int], Any, Any]]
    programs: dict[str, bytes]
    btf: bytes
    failure: str | Refusal | None = None


def compile_and_verify(request: Request) -> Result:
    """Compile, and let the verifier see every program once."""
    from bcc import BPF

    try:
        bpf = BPF(text=request.text.encode(), cflags=[*_WARNINGS, *request.flags])
    except Exception as error:
        return Result({}, {}, b"", str(error))
    lib = _libbcc()
    maps, btf = _maps(lib, bpf.module)
    programs = {}
    for name, program_type, attach_type in request.programs:
        start, size = (of(bpf.module, name.encode()) for of in (lib.bpf_function_start, lib.bpf_function_size))
        if not start:  # switched off by an #if
            continue
        refusal = _refusal(lib, bpf.module, name, program_type, attach_type, request.whole_log)
        if refusal:
            return Result(maps, {}, btf, refusal)
        programs[name] = ctypes.string_at(start, size)
    return Result(maps, programs, btf)


def _maps(lib: ctypes.CDLL, module: int) -> tuple[dict[int, Any], bytes]:
    from kmesh_lab.kernel.libbpf import MapInfo, btf_of, object_info

    maps: dict[int, Any] = {}
    btf = b""
    for number in range(lib.bpf_num_tables(module)):
        descriptor = lib.bpf_table_fd_id(module, number)
        info = object_info(descriptor, MapInfo)
        btf = btf or btf_of(info)
        numbers = {name: value for name, *_ in info._fields_ if isinstance(value := getattr(info, name), int)}
        types = (of(module, number) for of in (lib.bpf_table_key_desc_id, lib.bpf_table_leaf_desc_id))
        maps[descriptor] = (lib.bpf_table_name(module, number).decode(), numbers, *map(json.loads, types))
    return maps, btf


def _refusal(
    lib: ctypes.CDLL, module: int, name: str, program_type: int, attach_type: int, whole_log: bool
) -> Refusal | None:
    """Load a program through bcc, which tells the verifier about the lines of C; None if it was taken."""
    symbol = name.encode()
    function = (symbol, lib.bpf_function_start(module, symbol), lib.bpf_function_size(module, symbol))

    def load(log_size: int) -> str | None:
        log = mmap.mmap(-1, log_size or 1)  # what is not written costs nothing
        license_and_version = (lib.bpf_module_license(module), 0)
        logging = (_STEPS, ctypes.byref(ctypes.c_char.from_buffer(log)), log_size) if log_size else (0, None, 0)
        fd: int = lib.bcc_func_load(module, program_type, *function, *license_and_version, *logging, None, attach_type)
        if fd < 0:
            return log[: log.find(b"\0")].decode(errors="replace")
        os.close(fd)
        return None

    if whole_log:
        if load(0) is None:  # without a buffer bcc itself tries larger and larger ones
            return None
        code, log = ctypes.get_errno(), load(_LOG_SIZE) or ""
    else:
        code, log = _summary(function, lib.bpf_module_license(module), program_type, attach_type)
        if not code:
            return None
        if code == errno.E2BIG:  # a million steps, which take seconds to write down and say no more than the summary
            return Refusal(name, code, log, log)
        log = load(_LOG_END) or ""
        if "\nprocessed " not in log[-1000:]:  # before Linux 6.4 a log that does not fit loses its end
            log = load(_LOG_SIZE) or ""
    end = log
    if code == errno.EINVAL and log:
        # bcc tries again without the lines of C, in case the kernel is too old for them, and only that log is left. But
        # a log that does not fit is another error: no second time, and what is left is its end (Linux 6.4).
        sizes = range(len(log), len(log) + (256 if len(log) < 100_000 else 1), 16)
        ends = (load(size) or "" for size in sizes)
        end = next((each for each in ends if " @ " in each and each[-20:] == log[-20:]), log)
    return Refusal(name, code, log, end)


def _summary(function: tuple[bytes, int, int], license_: bytes, program_type: int, attach_type: int) -> tuple[int, str]:
    """Show a program to the verifier once: the errno, 0 if it was taken, and the last words, which cost nothing.

    By libbpf, because bcc has the verifier walk a program of too many steps a second time, without its name.
    """
    from kmesh_lab.kernel.libbpf import ProgramLoadOptions, call

    name, start, size = function
    log = ctypes.create_string_buffer(_LOG_END)
    options = ProgramLoadOptions(expected_attach_type=attach_type, log_level=_SUMMARY)
    options.log_size, options.log_buf = len(log), ctypes.addressof(log)
    instructions = (ctypes.string_at(start, size), size // 8)
    try:
        os.close(call("bpf_prog_load", program_type, name[:15], license_, *instructions, ctypes.byref(options)))
    except OSError as error:
        return error.errno or errno.EINVAL, log.value.decode(errors="replace")
    return 0, ""


def _libbcc() -> ctypes.CDLL:
    """libbcc with the prototypes that bcc's Python module leaves out."""
    lib = ctypes.CDLL("libbcc.so.0", use_errno=True)
    by_number = {"bpf_table_name": _STR, "bpf_table_fd_id": _INT}
    by_number |= {"bpf_table_key_desc_id": _STR, "bpf_table_leaf_desc_id": _STR}
    for name, result, arguments in (
        ("bpf_num_tables", ctypes.c_size_t, [_PTR]),
        ("bpf_function_start", _PTR, [_PTR, _STR]),
        ("bpf_function_size", ctypes.c_size_t, [_PTR, _STR]),
        ("bpf_module_license", _STR, [_PTR]),
        ("bcc_func_load", _INT, [_PTR, _INT, _STR, _PTR, _INT, _STR, _UINT, _INT, _PTR, _UINT, _STR, _INT]),
        *((name, result, [_PTR, ctypes.c_size_t]) for name, result in by_number.items()),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def _shorten_kallsyms() -> None:
    """Two lines for /proc/kallsyms, in a mount namespace that only this process has, and where that is allowed.

    bcc reads all of its 100,000 lines at each compilation, to learn whether two helpers exist, which Linux 5.5 and
    newer have. That takes 0.1 s to 0.2 s, as long as a small program.
    """
    folder = os.path.dirname(os.path.abspath(__file__))
    two_lines = os.path.join(folder, "../../bpf/stubs/kallsyms").encode()
    libc = ctypes.CDLL(None)
    if libc.unshare(_CLONE_NEWNS) == 0 and libc.mount(None, b"/", None, _MS_PRIVATE_ALL, None) == 0:
        libc.mount(two_lines, b"/proc/kallsyms", None, _MS_BIND, None)


def main() -> None:
    """Serve one request."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody waits for the answer any more
    _shorten_kallsyms()
    answer = os.dup(1)
    os.dup2(2, 1)
    # The __init__ of the package imports all of Kmesh Lab; empty packages are enough for one module of it.
    folder = os.path.dirname(os.path.abspath(__file__))
    for package, path in (("kmesh_lab", os.path.dirname(folder)), ("kmesh_lab.kernel", folder)):
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [path]
    from kmesh_lab.kernel import bcc_process  # under its usual name, which the owner knows its classes by

    request = pickle.load(sys.stdin.buffer)
    result = bcc_process.compile_and_verify(request)
    with open(answer, "wb") as stream:
        pickle.dump(result, stream)


if __name__ == "__main__":
    main()

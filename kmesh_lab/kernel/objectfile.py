"""Object files: a ``.o`` of plain ``clang -target bpf`` → loaded by libbpf, as Kmesh loads its own.

Kmesh's programs are four objects that share their maps by name: the first one loaded makes them, the others reuse them.
The toolchain does not show in what comes out: programs and maps are the same classes as those of bcc's `Module`.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kmesh_lab.errors import LabError, NotPrivileged
from kmesh_lab.kernel.compiler import hook_of
from kmesh_lab.kernel.libbpf import call, libbpf, pointer
from kmesh_lab.kernel.maps import Map, value_bytes
from kmesh_lab.kernel.program import Program
from kmesh_lab.kernel.verifier import verifier_error

__all__ = ["ObjectFile"]

_LOG_SIZE = 16 << 20


class ObjectFile:
    """The programs and maps of one object file, in the kernel until `close`.

    Maps named in ``reuse`` are not made: the programs get those. Raises `kmesh_lab.errors.VerifierError` with the whole
    log of the verifier, or `kmesh_lab.errors.LabError` if the file is no BPF object or a map does not fit.

        >>> first = ObjectFile(Path("build/cgroup_sock.o"))
        >>> second = ObjectFile(Path("build/sockops.o"), reuse=first.maps)
        >>> second.programs
        {'sockops_prog': <Program sockops_prog sockops>}
    """

    def __init__(self, path: Path, reuse: Mapping[str, Map] | None = None) -> None:
        self.path = path
        try:
            self._object = pointer("bpf_object__open_file", os.fsencode(path), None)
        except OSError as error:
            raise LabError(f"{path} was not opened as a BPF object: {_reason(error)}; `make bpf` builds them") from None
        try:
            self._reuse(reuse or {})
            self._load()
        except BaseException:
            self.close()
            raise
        self.maps: dict[str, Map] = {found.name: found for found in map(_map, self._each("map"))}
        self.programs: dict[str, Program] = {found.name: found for found in map(_program, self._each("program"))}

    def _each(self, kind: str) -> Iterator[int]:
        following = getattr(libbpf(), f"bpf_object__next_{kind}")
        item: int | None = None
        while item := following(self._object, item):
            yield item

    def _reuse(self, maps: Mapping[str, Map]) -> None:
        for item in self._each("map"):
            wanted = _map(item)
            given = maps.get(wanted.name)
            if given is None:
                continue
            if (given.key_size, given.value_size) != (wanted.key_size, wanted.value_size):
                raise LabError(f"{self.path.name} wants {wanted}, but was given {given} to reuse")
            call("bpf_map__reuse_fd", item, given.fd)

    def _load(self) -> None:
        # libbpf asks for a log only after a refusal. Anonymous memory: what is not written of 16 MB costs nothing.
        logs = {item: mmap.mmap(-1, _LOG_SIZE) for item in self._each("program")}
        for item, log in logs.items():
            call("bpf_program__set_log_buf", item, _address(log), _LOG_SIZE)
        try:
            call("bpf_object__load", self._object)
        except OSError as error:
            for item, log in logs.items():
                if text := log[: log.find(b"\0")]:
                    name = _text(libbpf().bpf_program__name(item))
                    raise verifier_error(name, text.decode(errors="replace"), error.errno or 0) from None
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> LabError:
        reason = f"{self.path} was not loaded: {_reason(error)}"
        if error.errno == errno.EPERM:
            return NotPrivileged(f"{reason}; run as root")
        return LabError(f"{reason}; `kmesh-lab check` says what is missing")

    def close(self) -> None:
        """Give back programs and maps, also to the kernel if nobody else holds them; a second time, do nothing."""
        if self._object:
            libbpf().bpf_object__close(self._object)
            self._object = 0
            self.maps, self.programs = {}, {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ObjectFile {self.path.name}: {', '.join(self.programs) or 'closed'}>"


def _map(item: int) -> Map:
    library = libbpf()
    value_size = value_bytes(library.bpf_map__type(item), library.bpf_map__value_size(item))
    sizes = (library.bpf_map__key_size(item), value_size, library.bpf_map__max_entries(item))
    return Map(_text(library.bpf_map__name(item)), library.bpf_map__fd(item), *sizes)


def _program(item: int) -> Program:
    library = libbpf()
    section = _text(library.bpf_program__section_name(item))
    return Program(_text(library.bpf_program__name(item)), section, library.bpf_program__fd(item), hook_of(section)[1])


def _reason(error: OSError) -> str:
    """The words for an errno, or for one of libbpf's own codes, which start at 4000."""
    text = ctypes.create_string_buffer(128)
    libbpf().libbpf_strerror(error.errno, text, len(text))
    return _text(text.value)


def _text(name: bytes) -> str:
    return name.decode()


def _address(memory: mmap.mmap) -> int:
    # The pointer from_buffer() makes keeps `memory` from being closed only while it lives; the caller holds `memory`.
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))

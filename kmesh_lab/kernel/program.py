"""Programs in the kernel: loaded with maps of their own, attached, and gone when they are closed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from kmesh_lab.errors import KernelNotSupported, LabError, NotPrivileged
from kmesh_lab.kernel.compiler import BPF_DIR, Image, MapSpec, compile_c, hook_of
from kmesh_lab.kernel.libbpf import MapCreateOptions, ProgramLoadOptions, call
from kmesh_lab.kernel.maps import Layout, Map, value_bytes
from kmesh_lab.kernel.verifier import verifier_error

__all__ = ["BPF_DIR", "Image", "Link", "Module", "Program"]

_LICENSE = b"Dual BSD/GPL"
_NAME_LENGTH = 15  # of an object in the kernel


@dataclass
class Link:
    """A program attached to a cgroup or a tracepoint for as long as this process holds the descriptor."""

    program: str
    fd: int

    def close(self) -> None:
        """Detach."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True)
class Program:
    """A program in the kernel; ``section`` names its hook as libbpf does (``cgroup/connect4``)."""

    name: str
    section: str
    fd: int
    attach_type: int

    def __repr__(self) -> str:
        return f"<Program {self.name} {self.section}>"

    def attach(self, cgroup_fd: int) -> Link:
        """Attach to a cgroup by a link, which the kernel removes when the last descriptor of it is closed."""
        try:
            return Link(self.name, call("bpf_link_create", self.fd, cgroup_fd, self.attach_type, None))
        except PermissionError:
            raise LabError(
                f"program {self.name} was not attached: a program on a cgroup above allows no other beside it; "
                "`bpftool cgroup tree` shows whose it is"
            ) from None

    def attach_to_tracepoint(self) -> Link:
        """Attach to the raw tracepoint that the section names, ``raw_tracepoint/sys_enter``, until the link is closed.

        Raises `KernelNotSupported` when the kernel has no such tracepoint.
        """
        tracepoint = self.section.partition("/")[2]
        try:
            return Link(self.name, call("bpf_raw_tracepoint_open", tracepoint.encode(), self.fd))
        except FileNotFoundError:
            raise KernelNotSupported(
                f"program {self.name} was not attached: this kernel has no tracepoint {tracepoint!r} "
                "(CONFIG_TRACEPOINTS, and for system calls CONFIG_HAVE_SYSCALL_TRACEPOINTS)"
            ) from None

    def attach_to_map(self, target: Map) -> None:
        """Attach an sk_msg program to a sockhash; it stays as long as the map."""
        call("bpf_prog_attach", self.fd, target.fd, self.attach_type, 0)


class Module:
    """A compiled translation unit, loaded: maps of its own, and the programs that use them.

    ``source`` is a C file, or an image of one. ``defines`` become ``-D`` switches. Maps named in ``reuse`` are not
    made: the programs get those. Raises `kmesh_lab.errors.CompileError` and `kmesh_lab.errors.VerifierError`.

        >>> Module(BPF_DIR / "kmesh.c").load("cgroup_connect4_prog")
        <Program cgroup_connect4_prog cgroup/connect4>
    """

    def __init__(
        self,
        source: Path | Image,
        defines: Mapping[str, object] | None = None,
        reuse: Mapping[str, Map] | None = None,
    ) -> None:
        self.image = source if isinstance(source, Image) else compile_c(source, defines or {})
        self.text = self.image.text
        self.sections = {name: program.section for name, program in self.image.programs.items()}
        self.layouts: dict[str, tuple[Layout, Layout]] = {
            name: (spec.key, spec.value) for name, spec in self.image.maps.items()
        }
        self.maps: dict[str, Map] = {name: each for name, each in (reuse or {}).items() if name in self.image.maps}
        self._stack, self._closed = ExitStack(), False
        try:
            if self.image.maps:
                self._make_maps()
        except PermissionError as error:
            self.close()
            raise NotPrivileged(f"the maps were not made: {error.strerror}; run as root") from None
        except BaseException:
            self.close()
            raise

    def _make_maps(self) -> None:
        types = self.image.btf
        btf = call("bpf_btf_load", types, len(types), None) if types else -1
        try:
            for name, spec in self.image.maps.items():
                if name not in self.maps:
                    self.maps[name] = self._make_map(spec, btf)
        finally:
            if btf >= 0:
                os.close(btf)  # the maps hold on to it

    def _make_map(self, spec: MapSpec, btf: int) -> Map:
        options = MapCreateOptions(map_flags=spec.flags)
        if spec.btf_value:
            options.btf_fd, options.btf_key_type_id, options.btf_value_type_id = btf, spec.btf_key, spec.btf_value
        kernel_name = spec.name.encode()[:_NAME_LENGTH]
        sizes = (spec.key_size, spec.value_size, spec.max_entries)
        descriptor = call("bpf_map_create", spec.type, kernel_name, *sizes, ctypes.byref(options))
        value_size = value_bytes(spec.type, spec.value_size)
        made = Map(spec.name, descriptor, spec.key_size, value_size, spec.max_entries)
        self._stack.callback(_close_map, made)
        return made

    def load(self, name: str) -> Program:
        """Load one program; its hook is the SEC() in front of it."""
        if self._closed:
            raise LabError(f"program {name!r} was not loaded: the module is closed; make another one")
        if name not in self.image.programs:
            raise LabError(f"no program {name!r} here; there is {', '.join(sorted(self.image.programs))}")
        program = self.image.programs[name]
        code = bytearray(program.instructions)
        for at, target in program.maps.items():
            code[at : at + 4] = self.maps[target].fd.to_bytes(4, "little")
        program_type, attach_type = hook_of(program.section)
        options = ProgramLoadOptions(expected_attach_type=attach_type)
        arguments = (name.encode()[:_NAME_LENGTH], _LICENSE, bytes(code), len(code) // 8, ctypes.byref(options))
        try:
            descriptor = call("bpf_prog_load", program_type, *arguments)
        except OSError as error:
            raise verifier_error(name, "", error.errno or 0) from error
        self._stack.callback(os.close, descriptor)
        return Program(name, program.section, descriptor, attach_type)

    def close(self) -> None:
        """Give back programs and maps; the kernel frees what nobody else holds."""
        self._closed = True
        self._stack.close()


def _close_map(made: Map) -> None:
    """Close it, and make the value useless: the kernel gives the number of the descriptor to the next map."""
    os.close(made.fd)
    object.__setattr__(made, "fd", -1)

"""What a lab has on this machine: cgroups, the fabric, programs, processes, sockets; and how it is all put away."""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from kmesh_lab.datapath.datapath import Datapath
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.cgroup import LabCgroup, forget_in_forked_child, remove_abandoned
from kmesh_lab.kernel.features import require
from kmesh_lab.kernel.netns import Fabric
from kmesh_lab.kernel.program import Image
from kmesh_lab.mesh import Place, Workload
from kmesh_lab.traffic.channel import allow_descriptors
from kmesh_lab.traffic.pod_process import PodProcess, Script

__all__ = ["Ground", "Holder", "c_file"]


class Holder(Protocol):
    """Who holds a socket of a pod: a connection, a capture."""

    socket: socket.socket

    def release(self) -> None:
        """Close the socket at once."""


def c_file(source: Path | str) -> Path:
    """The C file that is meant by a file or a folder; `LabError` if there is none."""
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"source {source!r}: expected a C file, a folder with kmesh.c, or an Image")
    path = Path(source)
    path = path / "kmesh.c" if path.is_dir() else path
    if not path.is_file():
        raise LabError(f"no C file {str(path)!r}; a copy of bpf/ has kmesh.c, which includes the others")
    return path


class Ground:
    """The cgroup and the fabric of one lab, and whatever is made in them; `close` removes everything.

    It knows neither nodes nor pods nor the lab, so that a lab that nobody holds any more can be collected and its
    ground closed. Making one first asks for what every lab needs and removes what dead labs left.
    """

    def __init__(self) -> None:
        require()
        remove_abandoned()
        allow_descriptors()
        self._owner = os.getpid()
        self._stack = ExitStack()
        self._processes: dict[str, PodProcess] = {}
        self._holders: weakref.WeakKeyDictionary[Holder, Workload] = weakref.WeakKeyDictionary()
        forget_in_forked_child(self)
        self._cgroup = LabCgroup.create()
        try:
            self._fabric = Fabric(self._cgroup.path)
        except BaseException:
            self._cgroup.remove()
            raise
        # The last to be called is the first here: the warden goes last, because it removes the cgroup if we are killed.
        self._stack.callback(self._fabric.close)
        self._stack.callback(self._cgroup.remove)

    @property
    def cgroup(self) -> Path:
        """The directory that is above those of the nodes."""
        return self._cgroup.path

    @contextmanager
    def datapath(
        self, node: str, place: Place | None, source: Path | Image, *, trace: bool, proxy_v2: bool
    ) -> Iterator[Datapath]:
        """The cgroup of a node with the programs; whatever fails until the block ends, no trace of it remains."""
        with ExitStack() as undo:
            cgroup = self._cgroup.child(node)
            undo.callback(self._cgroup.remove_child, node)
            datapath = Datapath(cgroup, place, trace=trace, source=source, proxy_v2=proxy_v2)
            undo.callback(datapath.close)
            yield datapath
            undo.pop_all()
        self._stack.callback(datapath.close)

    @contextmanager
    def process(self, workload: Workload, script: Script) -> Iterator[PodProcess]:
        """The process of a pod, on the wire; whatever fails until the block ends, no trace of it remains."""
        name = workload.name
        with ExitStack() as undo:
            cgroup = self._cgroup.child(workload.node, name)
            undo.callback(self._cgroup.remove_child, workload.node, name)
            process = self._processes[name] = PodProcess(name, cgroup, script)
            undo.callback(self._processes.pop, name)
            undo.callback(process.close)
            process.start().wait_ready()
            self._fabric.plug(process.netns_fd, name, workload.address, default_route=script == "proxy")
            undo.callback(self._fabric.unplug, name)
            yield process
            undo.pop_all()

    def forget(self) -> None:
        """In a forked child: close the sockets of pods, which keep network namespaces, and nothing else."""
        for holder in list(self._holders):
            holder.socket.close()

    def keep(self, holder: Holder, workload: Workload) -> None:
        """Close a socket with its pod, at the latest: an open one keeps the network namespace."""
        self._holders[holder] = workload

    def remove_process(self, workload: Workload) -> None:
        """End the process of a pod, and what was made inside it; a step that fails does not keep the next from it."""
        with ExitStack() as steps:  # the last one first
            steps.callback(self._processes.pop, workload.name)
            steps.callback(self._cgroup.remove_child, workload.node, workload.name)
            steps.callback(self._fabric.unplug, workload.name)
            steps.callback(self._processes[workload.name].close)  # before the wire goes: others shall notice
            for holder, of in list(self._holders.items()):
                if of is workload:
                    holder.release()

    def close(self) -> None:
        """Remove everything; not in a child made by fork(), whose lab it is not."""
        if os.getpid() != self._owner:
            return
        with self._stack:
            for process in self._processes.values():
                self._stack.callback(process.close)
            for holder in list(self._holders):
                self._stack.callback(holder.release)

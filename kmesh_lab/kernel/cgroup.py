"""Cgroups of a lab: where cgroup2 is mounted, and one directory per lab that says by itself whether its owner lives.

A lab owns ``<mount>/kmesh-lab-<8 hex digits>``; a node is a child of it, and a pod a child of its node. The owner holds
an exclusive ``flock`` on the directory. The kernel drops that lock when the process ends, however it ends, so whoever
gets the lock knows that the lab is abandoned: no pid is compared, and it holds across pid namespaces and containers.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from kmesh_lab.errors import CgroupUnavailable, LabError, NotPrivileged
from kmesh_lab.kernel.warden import remove_tree

__all__ = ["LabCgroup", "abandoned", "cgroup2_mount", "forget_in_forked_child", "remove_abandoned"]

_NAME = re.compile("kmesh-lab-[0-9a-f]{8}")
_MOUNTINFO = Path("/proc/self/mountinfo")


class Cgroup2Mount(NamedTuple):
    """One line of mountinfo(5) whose file system is cgroup2."""

    path: Path
    device: int
    read_only: bool


def cgroup2_mounts(mountinfo: str) -> list[Cgroup2Mount]:
    """Read the cgroup2 mounts, in their order, from the text of /proc/PID/mountinfo."""
    mounts = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")  # a space inside a field is written \040
        filesystem, _, super_options = right.split(" ")
        if filesystem != "cgroup2":
            continue
        _, _, device, _, path, options, *_ = left.split(" ")
        read_only = "ro" in options.split(",") + super_options.split(",")
        unescaped = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)
        mounts.append(Cgroup2Mount(Path(unescaped), os.makedev(*map(int, device.split(":"))), read_only))
    return mounts


def cgroup2_mount() -> Path:
    """Return a writable mount point of cgroup2.

    Raises `CgroupUnavailable` if there is none, or only read-only ones, and `NotPrivileged` if only root may write.
    """
    mounts = cgroup2_mounts(_MOUNTINFO.read_text(errors="surrogateescape"))
    visible = [mount for mount in mounts if _visible(mount)]
    if not visible:
        raise CgroupUnavailable(
            "no cgroup2 file system is mounted, and a node is a cgroup: as root, "
            "`mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2`"
        )
    writable = [mount.path for mount in visible if not mount.read_only]
    if not writable:
        path = visible[0].path
        raise CgroupUnavailable(
            f"cgroup2 at {path} is mounted read-only, as in a container without privileges: start it with "
            f"`docker run --privileged`, or with the capability SYS_ADMIN and then `mount -o remount,rw {path}`"
        )
    for path in writable:
        if os.access(path, os.W_OK | os.X_OK):
            return path
    raise NotPrivileged(f"cgroup2 at {writable[0]} cannot be written by user {os.geteuid()}: run as root")


def _visible(mount: Cgroup2Mount) -> bool:
    """Say whether the mount can be reached, that is, nothing else is mounted over it."""
    try:
        return mount.path.stat().st_dev == mount.device
    except OSError:
        return False


class LabCgroup:
    """The cgroup of one lab, as long as this process lives or until `remove`; make it with `create`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        forget_in_forked_child(self)

    @classmethod
    def create(cls) -> Self:
        """Make a directory with a new name and lock it."""
        mount = cgroup2_mount()
        while True:
            path = mount / f"kmesh-lab-{secrets.token_hex(4)}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise CgroupUnavailable(
                    f"no cgroup can be made in {mount} ({error.strerror}): `mount -o remount,rw {mount}` may help"
                ) from error
            # Between mkdir and here a cleaner may have found the directory unlocked, and removed it: then, once more.
            lock = _lock(path, fcntl.LOCK_EX)
            if lock is not None:
                return cls(path, lock)

    @property
    def name(self) -> str:
        """``kmesh-lab-`` and eight hexadecimal digits."""
        return self.path.name

    def child(self, *names: str) -> Path:
        """Make the cgroup of a node, ``child(node)``, or of a pod, ``child(node, pod)``, and return its directory."""
        path = self._below(names)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ValueError(f"cgroup name {path.name!r} is that of a file of the kernel: choose another") from None
        return path

    def remove_child(self, *names: str) -> None:
        """Kill what runs in the cgroup of a node or pod and remove it."""
        _remove(self._below(names))

    def remove(self) -> None:
        """Kill what still runs in the lab, remove its cgroups and give up the lock; a second time, do nothing."""
        if self._lock >= 0:
            _remove(self.path)
            self.forget()

    def _below(self, names: tuple[str, ...]) -> Path:
        if not names:
            raise ValueError("a child of the lab's cgroup needs a name: child('n1') or child('n1', 'shop')")
        for name in names:
            if name in ("", ".", "..") or "/" in name or not name.isprintable():
                raise ValueError(f"cgroup name {name!r} is not the name of one directory")
        return self.path.joinpath(*names)

    def forget(self) -> None:
        """Give up the lock and nothing else."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<LabCgroup {self.path}{'' if self._lock >= 0 else ', removed'}>"


_owned: weakref.WeakSet[Any] = weakref.WeakSet()


def forget_in_forked_child(thing: Any) -> None:
    """Have ``thing.forget()`` called in every child that this process makes by fork().

    A child shares locks and descriptors. It must neither keep what a dead owner had, nor remove what a living one has.
    """
    _owned.add(thing)


def _forget_all() -> None:
    for thing in list(_owned):
        thing.forget()


os.register_at_fork(after_in_child=_forget_all)


def abandoned() -> list[Path]:
    """Return the cgroups of labs whose owner is dead."""
    found = []
    for path in _labs():
        lock = _lock(path, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look do not mistake each other for an owner
        if lock is not None:
            os.close(lock)
            found.append(path)
    return found


def remove_abandoned() -> list[str]:
    """Remove what labs left whose owner is dead, and return one line about each.

    A lab that resists does not keep it from removing the others; then it raises the first `LabError` at the end.
    """
    removed, errors = [], []
    for path in _labs():
        lock = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            continue
        try:
            nodes, pods = (len(list(path.glob(depth))) for depth in ("*/", "*/*/"))
            killed = _remove(path)
            parts = (_count(nodes, "node"), _count(pods, "pod"), _count(killed, "running process", "running processes"))
            removed.append(f"{path}: {', '.join(parts)}")
        except LabError as error:
            errors.append(error)
        finally:
            os.close(lock)
    if errors:
        raise errors[0]
    return removed


def _labs() -> list[Path]:
    return sorted(path for path in cgroup2_mount().iterdir() if _NAME.fullmatch(path.name))


def _lock(path: Path, how: int) -> int | None:
    """Return a descriptor that holds the lock of a lab's directory; None: another has it, or the directory is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, how)
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return fd
        os.close(fd)
    except (BlockingIOError, FileNotFoundError):
        os.close(fd)
    return None


def _remove(path: Path) -> int:
    try:
        return remove_tree(str(path))
    except PermissionError as error:
        raise NotPrivileged(f"cgroup {path} was not removed: {error.strerror}; run as root") from error
    except OSError as error:
        inside = error.errno == errno.EDEADLK
        reason = (
            "this process itself runs inside; call from outside" if inside else "what runs inside does not die; look at"
        )
        raise LabError(f"cgroup {path} was not removed: {reason} {path}/cgroup.procs") from error


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"

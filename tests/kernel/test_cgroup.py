"""Labs own their cgroups, and whether the owner lives is answered by a lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmesh_lab.errors import CgroupUnavailable, LabError
from kmesh_lab.kernel import cgroup, warden
from kmesh_lab.kernel.cgroup import LabCgroup, abandoned, cgroup2_mount, cgroup2_mounts, remove_abandoned

pytestmark = pytest.mark.root

StartOwner = Callable[..., tuple["subprocess.Popen[str]", Path]]

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:7 - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate
"""

# An owner in a process of its own, which says what it made and then waits.
OWNER = """
import os, sys, time
from pathlib import Path
from kmesh_lab.kernel import cgroup
cgroup._MOUNTINFO = Path(sys.argv[1])
lab = cgroup.LabCgroup.create()
pod = lab.child("n1", "shop")
{then}
print(lab.path, flush=True)
time.sleep(60)
"""


@pytest.fixture
def start_owner(mountinfo: Path) -> Iterator[StartOwner]:
    owners = []

    def start(then: str = "") -> tuple[subprocess.Popen[str], Path]:
        script = OWNER.format(then=then)
        owner = subprocess.Popen([sys.executable, "-c", script, str(mountinfo)], stdout=subprocess.PIPE, text=True)
        owners.append(owner)
        assert owner.stdout
        return owner, Path(owner.stdout.readline().strip())

    yield start
    for owner in owners:
        owner.kill()
        owner.communicate()


def sleeper(directory: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sleep", "60"])
    (directory / "cgroup.procs").write_text(str(process.pid))
    return process


def as_nobody(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)


def in_private_mounts(commands: str, code: str) -> subprocess.CompletedProcess[str]:
    script = f"mount --make-rprivate / && {commands} && exec {sys.executable} -c '{code}'"
    return subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)


def test_cgroup2_is_found_among_the_v1_mounts_of_a_hybrid_machine() -> None:
    assert cgroup2_mounts(HYBRID) == [(Path("/sys/fs/cgroup/unified"), os.makedev(0, 38), False)]


@pytest.mark.parametrize("options", ["ro,relatime - cgroup2 cgroup2 rw", "rw,relatime shared:3 - cgroup2 cgroup2 ro"])
def test_read_only_counts_for_the_mount_and_for_the_file_system(options: str) -> None:
    assert cgroup2_mounts(f"41 31 0:38 / /sys/fs/cgroup {options}\n")[0].read_only


def test_a_mount_point_with_spaces_is_unescaped() -> None:
    line = "41 31 0:38 / /mnt/my\\040own\\134cgroup rw - cgroup2 none rw\n"
    assert cgroup2_mounts(line)[0].path == Path("/mnt/my own\\cgroup")


def test_without_cgroup2_the_error_says_how_to_mount_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_MOUNTINFO", tmp_path / "mountinfo")
    (tmp_path / "mountinfo").write_text("31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n")
    with pytest.raises(
        CgroupUnavailable, match=r"no cgroup2 file system is mounted.*mount -t cgroup2 none /run/cgroup2"
    ):
        cgroup2_mount()


def test_an_unmounted_cgroup2_is_reported_by_the_kernel_itself() -> None:
    result = in_private_mounts(f"umount {cgroup2_mount()}", "from kmesh_lab.kernel.cgroup import *; LabCgroup.create()")
    assert "CgroupUnavailable: no cgroup2 file system is mounted" in result.stderr


def test_a_read_only_cgroup2_is_reported_with_the_flag_for_docker() -> None:
    mount = cgroup2_mount()
    result = in_private_mounts(
        f"mount -o remount,bind,ro {mount}", "from kmesh_lab.kernel.cgroup import *; LabCgroup.create()"
    )
    assert f"CgroupUnavailable: cgroup2 at {mount} is mounted read-only" in result.stderr
    assert "docker run --privileged" in result.stderr


def test_a_mount_under_another_mount_is_not_taken() -> None:
    mount = cgroup2_mount()
    result = in_private_mounts(
        f"mkdir -p /dev/shm/cg2 && mount -t cgroup2 none /dev/shm/cg2 && mount -t tmpfs none {mount}",
        "from kmesh_lab.kernel.cgroup import *; print(cgroup2_mount())",
    )
    Path("/dev/shm/cg2").rmdir()
    assert result.stdout.strip() == "/dev/shm/cg2", result.stderr


def test_a_user_who_may_not_write_is_told_to_be_root() -> None:
    result = as_nobody("from kmesh_lab.kernel.cgroup import *; LabCgroup.create()")
    assert "NotPrivileged: cgroup2 at" in result.stderr
    assert "cannot be written by user 65534: run as root" in result.stderr


def test_a_node_is_a_child_of_the_lab_and_a_pod_a_child_of_its_node(mountinfo: Path) -> None:
    with LabCgroup.create() as lab:
        assert lab.path.name == lab.name
        assert lab.child("n1") == lab.path / "n1"
        assert lab.child("n1", "shop") == lab.path / "n1" / "shop"
        assert (lab.path / "n1" / "shop" / "cgroup.procs").exists()
    assert not lab.path.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\nb", "a\0b"])
def test_a_name_that_is_not_one_directory_is_refused(name: str, mountinfo: Path) -> None:
    with LabCgroup.create() as lab, pytest.raises(ValueError, match="is not the name of one directory"):
        lab.child("n1", name)


def test_a_name_that_the_kernel_uses_is_refused(mountinfo: Path) -> None:
    with LabCgroup.create() as lab, pytest.raises(ValueError, match=r"'cgroup.procs' is that of a file of the kernel"):
        lab.child("cgroup.procs")


def test_removing_kills_everything_inside_at_any_depth(mountinfo: Path) -> None:
    lab = LabCgroup.create()
    processes = [sleeper(directory) for directory in (lab.child("n1"), lab.child("n1", "shop"), lab.child("n2", "x"))]
    lab.remove()
    assert [process.wait(1) for process in processes] == [-signal.SIGKILL] * 3
    assert not lab.path.exists()
    lab.remove()  # once more does nothing


def test_removing_one_pod_leaves_the_others(mountinfo: Path) -> None:
    with LabCgroup.create() as lab:
        gone, stays = sleeper(lab.child("n1", "a")), sleeper(lab.child("n1", "b"))
        lab.remove_child("n1", "a")
        assert gone.wait(1) == -signal.SIGKILL
        assert stays.poll() is None
        assert os.listdir(lab.path / "n1")
        assert not (lab.path / "n1" / "a").exists()
    stays.wait(1)


def test_removing_works_on_kernels_without_cgroup_kill(mountinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warden, "KILL_FILE", "cgroup.no-such-file")
    lab = LabCgroup.create()
    forking = "import os, time\nfor _ in range(5): os.fork()\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", forking])
    (lab.child("n1", "shop") / "cgroup.procs").write_text(str(process.pid))
    lab.remove()
    assert process.wait(1) == -signal.SIGKILL
    assert not lab.path.exists()


def test_an_owner_inside_its_own_lab_is_not_killed_by_removing(start_owner: StartOwner) -> None:
    suicidal = """
(pod / "cgroup.procs").write_text(str(os.getpid()))
try:
    lab.remove()
except Exception as error:
    (lab.path.parent / "cgroup.procs").write_text(str(os.getpid()))
    print(f"{type(error).__name__}: {error}", flush=True)
"""
    _, said = start_owner(suicidal)
    assert "LabError: cgroup" in str(said)
    assert "this process itself runs inside; call from outside" in str(said)


def test_the_lab_of_a_living_owner_is_not_abandoned(start_owner: StartOwner) -> None:
    _, path = start_owner()
    assert abandoned() == []
    assert remove_abandoned() == []
    assert (path / "n1" / "shop").is_dir()


def test_the_lab_of_a_killed_owner_is_abandoned_and_removed_with_what_runs_in_it(
    start_owner: StartOwner,
) -> None:
    owner, path = start_owner()
    pod = sleeper(path / "n1" / "shop")
    owner.kill()
    owner.wait()
    assert abandoned() == [path]
    assert remove_abandoned() == [f"{path}: 1 node, 1 pod, 1 running process"]
    assert pod.wait(1) == -signal.SIGKILL
    assert not path.exists()
    assert remove_abandoned() == []


def test_a_child_that_the_owner_forked_does_not_keep_a_dead_lab_alive(start_owner: StartOwner) -> None:
    fork = (
        "r, w = os.pipe()\nif not os.fork(): os.close(1); os.write(w, b'x'); time.sleep(60); os._exit(0)\nos.read(r, 1)"
    )
    owner, path = start_owner(fork)
    child = int(Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()[0])
    owner.kill()
    owner.wait()
    try:
        assert abandoned() == [path]
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_cannot_remove_the_lab_of_its_parent(mountinfo: Path) -> None:
    with LabCgroup.create() as lab:
        child = os.fork()
        if not child:
            lab.remove()
            os._exit(0)
        os.waitpid(child, 0)
        assert lab.path.is_dir()
        assert abandoned() == []


def test_cgroups_of_others_are_left_alone(mountinfo: Path) -> None:
    top = cgroup2_mount()
    foreign = [top / name for name in ("kmesh-lab-mine", "kmesh-lab-0123456", "system.slice", "akmesh-lab-01234567")]
    for path in foreign:
        path.mkdir()
    process = sleeper(foreign[0])
    assert remove_abandoned() == []
    assert [path.is_dir() for path in foreign] == [True] * 4
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_lab_that_resists_does_not_save_the_others(mountinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = cgroup2_mount()
    resisting, other = top / "kmesh-lab-00000000", top / "kmesh-lab-00000001"
    resisting.mkdir()
    other.mkdir()
    real = cgroup.remove_tree

    def remove_tree(path: str) -> int:
        if path == str(resisting):
            raise OSError(16, "Device or resource busy")
        return real(path)

    monkeypatch.setattr(cgroup, "remove_tree", remove_tree)
    with pytest.raises(LabError, match=f"{resisting} was not removed: what runs inside does not die"):
        remove_abandoned()
    assert not other.exists()


def test_a_lab_is_never_lost_to_a_cleaner_that_comes_between_making_and_locking(mountinfo: Path) -> None:
    done = threading.Event()

    def clean() -> None:
        while not done.is_set():
            remove_abandoned()

    cleaners = [threading.Thread(target=clean) for _ in range(2)]
    for cleaner in cleaners:
        cleaner.start()
    try:
        labs = [LabCgroup.create() for _ in range(150)]
        time.sleep(0.05)
        assert all(lab.path.is_dir() for lab in labs)
    finally:
        done.set()
        for cleaner in cleaners:
            cleaner.join()
    assert len({lab.name for lab in labs}) == 150
    for lab in labs:
        lab.remove()
    assert abandoned() == []

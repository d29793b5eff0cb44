"""However the owner of a lab dies, its warden leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from kmesh_lab.kernel.cgroup import LabCgroup, abandoned, remove_abandoned
from kmesh_lab.kernel.netns import Fabric, netns_cookie, run_in, run_in_new

pytestmark = pytest.mark.root

# A lab with a pod process in a namespace of its own, and one more pod in a namespace that the test holds: when the
# fabric's namespace goes, the eth0 of that pod goes.
OWNER = """
import os, socket, subprocess, sys, time
from ipaddress import ip_address
from pathlib import Path
from kmesh_lab.kernel import cgroup
from kmesh_lab.kernel.netns import Fabric, netns_cookie, open_netns, run_in
cgroup._MOUNTINFO = Path(sys.argv[1])
lab = cgroup.LabCgroup.create()
fabric = Fabric(lab.path)
pod = subprocess.Popen(["unshare", "--net", "sleep", "60"], start_new_session=True)
(lab.child("n1", "shop") / "cgroup.procs").write_text(str(pod.pid))
while Path(f"/proc/{pod.pid}/comm").read_text() != "sleep\\n":
    time.sleep(0.001)
netns = open_netns(pod.pid)
fabric.plug(netns, "shop", ip_address("10.244.1.1"))
fabric.plug(os.open(sys.argv[2], os.O_RDONLY), "held", ip_address("10.244.1.2"))
sockets = [run_in(fd, socket.socket) for fd in (fabric.netns, netns)]
cookies = [netns_cookie(sock.fileno()) for sock in sockets]
sockets.clear()
print(lab.path, fabric._warden.pid, pod.pid, *cookies, flush=True)
os.close(netns)
"""


@dataclass
class Lab:
    """What an owner process has made."""

    owner: subprocess.Popen[str]
    path: Path
    warden: int
    pod: int
    cookies: set[int]
    held: int

    def left(self) -> list[str]:
        """Say what of it is still there."""
        there = [str(self.path)] if self.path.exists() else []
        there += [f"process {pid}" for pid in (self.warden, self.pod) if is_running(pid)]
        there += [f"namespace {cookie}" for cookie in self.cookies & set(all_cookies())]
        return there + [name for _, name in run_in(self.held, socket.if_nameindex) if name != "lo"]

    def is_gone_within(self, seconds: float) -> list[str]:
        deadline = time.monotonic() + seconds
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.left()


StartLab = Callable[[str], Lab]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_cookies() -> Iterator[int]:
    """Find every network namespace that a thread is in or a descriptor holds; an inode is no name, it is used again."""
    seen = set()
    for link in (*Path("/proc").glob("[0-9]*/task/*/ns/net"), *Path("/proc").glob("[0-9]*/fd/*")):
        with suppress(OSError):  # the process has just ended
            target = os.readlink(link)
            if not target.startswith("net:[") or target in seen:
                continue
            netns = os.open(link, os.O_RDONLY)
            seen.add(target)
            yield run_in(netns, cookie_here)
            os.close(netns)


def cookie_here() -> int:
    with socket.socket() as sock:
        return netns_cookie(sock.fileno())


@pytest.fixture
def start_lab(mountinfo: Path) -> Iterator[StartLab]:
    held = run_in_new(os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    owners = []

    def start(then: str) -> Lab:
        command = [sys.executable, "-c", OWNER + then, str(mountinfo), f"/proc/{os.getpid()}/fd/{held}"]
        owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        owners.append(owner)
        assert owner.stdout
        path, warden_pid, pod, *cookies = owner.stdout.readline().split()
        lab = Lab(owner, Path(path), int(warden_pid), int(pod), set(map(int, cookies)), held)
        assert len(lab.left()) == 6  # cgroup, two processes, two namespaces, eth0
        return lab

    yield start
    for owner in owners:
        owner.kill()
        owner.communicate()
    os.close(held)


def test_kill_9_of_the_owner_leaves_nothing(start_lab: StartLab) -> None:
    lab = start_lab("time.sleep(60)")
    lab.owner.kill()
    assert lab.is_gone_within(10) == []


@pytest.mark.parametrize(
    "end",
    [
        "input(); sys.exit()",
        "input(); os._exit(0)",
        "input(); raise RuntimeError",
        "input(); os.kill(os.getpid(), 15)",
        "input(); os.execvp('sleep', ['sleep', '60'])",
    ],
)
def test_every_other_end_of_the_owner_leaves_nothing(start_lab: StartLab, end: str) -> None:
    lab = start_lab(end)
    assert lab.owner.stdin
    lab.owner.stdin.write("\n")
    lab.owner.stdin.flush()
    assert lab.is_gone_within(10) == []


def test_a_child_that_the_owner_forked_does_not_keep_the_lab(start_lab: StartLab) -> None:
    lab = start_lab("os.fork()\ntime.sleep(60)")
    children = Path(f"/proc/{lab.owner.pid}/task/{lab.owner.pid}/children")
    while len(pids := children.read_text().split()) < 3:  # warden, pod, fork
        time.sleep(0.001)
    lab.owner.kill()
    try:
        assert lab.is_gone_within(10) == []
    finally:
        for pid in {int(pid) for pid in pids} - {lab.warden, lab.pod}:
            os.kill(pid, signal.SIGKILL)


def test_kill_9_of_owner_and_warden_leaves_what_the_next_start_removes(start_lab: StartLab) -> None:
    lab = start_lab("time.sleep(60)")
    os.kill(lab.warden, signal.SIGKILL)
    lab.owner.kill()
    lab.owner.wait()
    assert abandoned() == [lab.path]
    [line] = remove_abandoned()
    assert line == f"{lab.path}: 1 node, 1 pod, 1 running process"
    assert lab.is_gone_within(10) == []


def test_a_stopped_warden_finds_nothing_left_to_do(start_lab: StartLab) -> None:
    lab = start_lab("time.sleep(60)")
    os.kill(lab.warden, signal.SIGSTOP)
    lab.owner.kill()
    lab.owner.wait()
    assert len(remove_abandoned()) == 1
    os.kill(lab.warden, signal.SIGCONT)
    assert lab.is_gone_within(10) == []


def test_the_death_of_one_owner_does_not_touch_the_lab_of_another(start_lab: StartLab) -> None:
    dying = start_lab("time.sleep(60)")
    with LabCgroup.create() as living:
        fabric = Fabric(living.path)
        directory = living.child("n1", "shop")
        dying.owner.kill()
        assert dying.is_gone_within(10) == []
        assert directory.is_dir()
        assert run_in(fabric.netns, socket.if_nametoindex, "br0")
        fabric.close()


def test_signals_for_the_owner_do_not_end_the_warden(start_lab: StartLab) -> None:
    lab = start_lab("time.sleep(60)")
    assert os.getsid(lab.warden) == lab.warden  # Ctrl-C and Jupyter's interrupt go to the owner's group
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(lab.warden, number)
    time.sleep(0.05)
    assert len(lab.left()) == 6


def test_the_warden_is_outside_of_the_lab_and_holds_only_what_it_waits_for(start_lab: StartLab) -> None:
    lab = start_lab("time.sleep(60)")
    process = Path(f"/proc/{lab.warden}")
    assert lab.path.name not in (process / "cgroup").read_text()
    assert (process / "comm").read_text() == "kmesh-warden\n"
    assert os.readlink(process / "cwd") == "/"
    targets = [
        os.readlink(link).partition(":")[0] for link in sorted((process / "fd").iterdir(), key=lambda fd: fd.name)
    ]
    assert targets[:3] == ["pipe", "pipe", "/dev/null"]
    assert targets[3:] == ["anon_inode"] or targets[3:] == ["pidfd"]


def test_closing_in_order_dismisses_the_warden_and_leaves_the_cgroup_to_its_owner(mountinfo: Path) -> None:
    with LabCgroup.create() as lab:
        fabric = Fabric(lab.path)
        pid = fabric._warden.pid
        fabric.close()
        assert not Path(f"/proc/{pid}").exists()
        assert lab.path.is_dir()
        fabric.close()  # once more does nothing


def test_a_stopped_warden_does_not_keep_the_owner_from_closing(
    mountinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LabCgroup.create() as lab:
        fabric = Fabric(lab.path)
        process = fabric._warden
        communicate = process.communicate
        monkeypatch.setattr(
            process, "communicate", lambda *data, timeout=None: communicate(*data, timeout=timeout and 0.1)
        )
        os.kill(process.pid, signal.SIGSTOP)
        fabric.close()
        assert process.returncode == -signal.SIGKILL


def test_a_killed_warden_does_not_keep_the_owner_from_using_and_closing_the_fabric(mountinfo: Path) -> None:
    with LabCgroup.create() as lab:
        fabric = Fabric(lab.path)
        fabric._warden.kill()
        pod = run_in_new(os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        fabric.plug(pod, "shop", IPv4Address("10.244.1.1"))
        os.close(pod)
        fabric.close()


def test_a_forked_child_cannot_dismiss_the_warden_of_its_parent(mountinfo: Path) -> None:
    with LabCgroup.create() as lab:
        fabric = Fabric(lab.path)
        child = os.fork()
        if not child:
            fabric.close()
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(0.05)
        assert fabric._warden.poll() is None
        fabric.close()


def test_a_user_who_may_not_make_namespaces_is_told_so(tmp_path: Path) -> None:
    code = f"from pathlib import Path\nfrom kmesh_lab.kernel.netns import Fabric\nFabric(Path({str(tmp_path)!r}))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
    assert "NotPrivileged: the warden could not make a network namespace: Operation not permitted" in result.stderr

"""However a lab ends, no program, map, link, namespace, cgroup or process of it remains; and nobody else's goes."""

from __future__ import annotations

import gc
import os
import random
import secrets
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import kmesh_lab as km
from kmesh_lab.kernel import cgroup
from kmesh_lab.kernel.cgroup import cgroup2_mount, remove_abandoned
from kmesh_lab.kernel.program import BPF_DIR, Module
from tests.lab.outside import Machine, bpf_objects, descriptors, run_owner

pytestmark = pytest.mark.root

MAKE = """
import kmesh_lab as km
lab = km.Lab()
node = lab.node("n1", locality="cn-west/xian/a")
client, server = lab.pod("shop", node), lab.pod("inventory-a", node, listen=8080)
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
lab.apply(inventory, endpoints=[server])
assert client.connect(inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"
kept = client.connect(inventory)
print("ready", flush=True)
"""


MAKE_ENVOYS = """
import kmesh_lab as km
lab = km.Lab(waypoints="envoy")
node = lab.node("n1")
server = lab.pod("inventory-a", node, listen=8080, sidecar=True, mtls=True)
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
client = lab.pod("shop", node, sidecar=True, mtls=True)
gateway, waypoint = lab.gateway("gateway", node, inventory), lab.waypoint("waypoint", node)
lab.apply(inventory, endpoints=[server])
assert client.connect(inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"
print("ready", flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def hierarchy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cgroup as if it were all of cgroup2, so that no other Lab() cleans up after ours. Yields code for owners."""
    top = cgroup2_mount() / f"kmesh-lab-test-{secrets.token_hex(4)}"
    top.mkdir()
    device = top.stat().st_dev
    mountinfo = tmp_path_factory.mktemp("proc") / "mountinfo"
    mountinfo.write_text(f"1 1 {os.major(device)}:{os.minor(device)} / {top} rw - cgroup2 none rw\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cgroup, "_MOUNTINFO", mountinfo)
        yield f"import pathlib, kmesh_lab.kernel.cgroup as c; c._MOUNTINFO = pathlib.Path({str(mountinfo)!r})\n"
    top.rmdir()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def owned_by(hierarchy: str, machine: Machine) -> Callable[[str], AbstractContextManager[subprocess.Popen[str]]]:
    """Run this code in a process of its own, the owner of a lab."""
    return lambda code: run_owner(hierarchy + code, machine.mark)


def test_close_leaves_nothing_not_even_a_descriptor_or_a_thread(machine: Machine) -> None:
    km.Lab().close()  # what is made once and kept: loaded libraries, the compiled image
    before = descriptors(), set(threading.enumerate())
    with km.Lab() as lab:
        node, other = lab.node("n1"), lab.node("n2")
        shop, near = lab.pod("shop", node), lab.pod("inventory-a", other, listen=8080)
        waypoint = lab.waypoint("waypoint", node)
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(inventory, endpoints=[near], waypoint=waypoint)
        connection = shop.connect(inventory)
        connection.get("/stock/42")
        lab.delete(near)
        assert any(kind == "link" for kind, _ in bpf_objects() - machine.objects)

    assert connection.closed
    assert machine.left(10) == []
    assert (descriptors(), set(threading.enumerate())) == before


def test_an_exception_in_the_block_of_a_lab_leaves_nothing(machine: Machine) -> None:
    def fail(lab: km.Lab) -> None:
        with lab:
            lab.pod("shop", lab.node("n1"))
            raise ZeroDivisionError

    lab = km.Lab()
    with pytest.raises(ZeroDivisionError):
        fail(lab)

    assert lab.closed
    assert machine.left(10) == []


def test_a_lab_that_nobody_holds_any_more_leaves_nothing(machine: Machine) -> None:
    lab = km.Lab()
    lab.pod("shop", lab.node("n1"))
    del lab

    gc.collect()

    assert machine.left(10) == []


def test_the_end_of_the_interpreter_leaves_nothing(owned_by, machine: Machine) -> None:
    with owned_by(MAKE) as owner:
        out, _ = owner.communicate(timeout=30)

    assert (out, owner.returncode) == ("ready\n", 0)
    assert machine.left(10) == []


FORK = """
import os
from contextlib import suppress

def held():
    links = []
    for each in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            links.append(os.readlink(f"/proc/self/fd/{each}"))
    return [link for link in links if link.startswith(("net:", "socket:"))]

inside, outside = os.pipe()
if not os.fork():
    try:
        client.connect(inventory)
    except km.LabError as error:
        os.write(outside, f"{held()} {kept.closed} {error}".encode())
    os._exit(0)
os.close(outside)
print(os.read(inside, 1000).decode())
print(kept.get("/stock/42"), client.connect(inventory).get("/stock/42"))
"""


def test_a_forked_child_holds_no_namespace_and_no_socket_and_its_parent_goes_on(owned_by, machine: Machine) -> None:
    with owned_by(MAKE + FORK) as owner:
        out, _ = owner.communicate(timeout=30)

    answer = "inventory-a: item 42: 7 in stock"
    assert out == f"ready\n[] True pod 'shop' is closed; make it again\n{answer} {answer}\n"
    assert machine.left(10) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_deadly_signal_leaves_nothing(owned_by, machine: Machine, number: signal.Signals) -> None:
    with owned_by(f"{MAKE}\nimport signal; signal.pause()") as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "ready\n"
        assert len(machine.processes()) == 4  # the owner, its warden, two pods
        owner.send_signal(number)
        owner.wait(5)

    assert owner.returncode == -number
    assert machine.left(10) == []


@pytest.mark.parametrize("end", ["raise KeyError", "import signal; signal.pause()"])
def test_envoys_and_what_they_were_told_go_with_their_lab(owned_by, machine: Machine, end: str) -> None:
    with owned_by(f"{MAKE_ENVOYS}\n{end}") as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "ready\n"
        if "pause" in end:
            processes = machine.processes()
            assert len(processes) == 10  # the owner, its warden, four pods with an Envoy each
            assert files_of(processes) == []
            owner.kill()
        owner.wait(5)

    assert machine.left(10) == []


def files_of(processes: Iterable[int]) -> list[str]:
    """The files that these processes write to: those in memory have no name that anybody could find later."""
    opened = [link for pid in processes for link in Path(f"/proc/{pid}/fd").iterdir()]
    written = [link for link in opened if link.is_file() and link.lstat().st_mode & stat.S_IWUSR]
    named = [path for path in map(os.readlink, written) if not path.endswith(" (deleted)")]
    return [path for path in named if not path.startswith(("/dev/", "/sys/fs/cgroup"))]


def test_ctrl_c_in_the_terminal_ends_the_owner_and_leaves_nothing(owned_by, machine: Machine) -> None:
    made = textwrap.indent(f"{MAKE}\nimport signal; signal.pause()", "    ")
    # What a shell starts in the background ignores SIGINT, and whoever runs the tests may have been started so.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}\ntry:\n{made}\nexcept KeyboardInterrupt:\n    print('interrupted')"
    with owned_by(code) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "ready\n"
        for pid in machine.processes():  # as the terminal does it: to all of them
            os.kill(pid, signal.SIGINT)
        out, _ = owner.communicate(timeout=5)

    assert out == "interrupted\n"
    assert machine.left(10) == []


def test_a_child_made_by_fork_ends_without_touching_its_parents_lab(owned_by, machine: Machine) -> None:
    code = f"""{MAKE}
import os, sys
if os.fork() == 0:
    sys.exit()  # runs what the interpreter runs at its end
os.wait()
print(client.connect(inventory).get("/stock/42"), kept.get("/stock/1"), lab.close())
"""
    with owned_by(code) as owner:
        out, _ = owner.communicate(timeout=30)

    receipt = "<Receipt: 1 node, 2 pods, 1 service, 8 programs removed; left behind: nothing>"
    assert out == f"ready\ninventory-a: item 42: 7 in stock inventory-a: item 1: 7 in stock {receipt}\n"
    assert machine.left(10) == []


# ---- kill -9 at any moment

STEPS = """
import os, signal, sys
import kmesh_lab as km

def live():
    def step(name):
        os.write(1, name.encode() + b"\\n")
    step("lab"); lab = km.Lab()
    step("node"); n1 = lab.node("n1", "cn-west/xian/a")
    step("another node"); n2 = lab.node("n2", "cn-west/xian/b")
    step("pod"); shop = lab.pod("shop", n1)
    step("serving pods"); pods = [lab.pod(f"inventory-{i}", (n1, n2)[i % 2], listen=8080) for i in range(2)]
    step("waypoint"); waypoint = lab.waypoint("waypoint", n1)
    ends = [km.Workload(f"w{i}", f"10.98.{i // 250}.{i % 250 + 1}", "n3", "cn-west/xian/c") for i in range(2000)]
    many = {km.Service(f"s{i}", f"10.97.{i // 250}.{i % 250 + 1}", [80]): [ends[i]] for i in range(2000)}
    step("apply"); lab.apply(many)
    inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
    lab.apply(inventory, pods, waypoint=waypoint)
    step("connect"); shop.connect_many(inventory, count=500)
    step("delete"); lab.delete(pods[0])
    step("close"); lab.close()
    signal.pause()

with km.Lab() as warm_up:  # compiles, so that the owners need not
    warm_up.node("n1")
print("ready", flush=True)
for line in sys.stdin:
    os.environ["KMESH_LAB_TEST"] = line.strip()
    pid = os.fork()
    if pid == 0:
        os.write(1, f"{os.getpid()}\\n".encode())
        live()
    os.waitpid(pid, 0)
    print("dead", flush=True)
"""
MOMENTS = ("lab", "node", "another node", "pod", "serving pods", "waypoint", "apply", "connect", "delete", "close")


@pytest.fixture(scope="module")
def mother(hierarchy: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has compiled the programs, and forks an owner for every line it is given."""
    with run_owner(hierarchy + STEPS, "mother") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.stdin
        process.stdin.close()
        process.wait(5)


def kill_at(moment: str, delay: float, mother: subprocess.Popen[str], mark: str) -> None:
    """Start an owner, wait until it says that it has come to this step, and some time more, and kill it."""
    assert mother.stdin
    assert mother.stdout
    mother.stdin.write(f"{mark}\n")
    mother.stdin.flush()
    owner = os.pidfd_open(int(mother.stdout.readline()))
    try:
        while (said := mother.stdout.readline()) != f"{moment}\n":
            assert said not in ("", "dead\n"), "the owner ended before its time"
        time.sleep(delay)
        signal.pidfd_send_signal(owner, signal.SIGKILL)
    finally:
        os.close(owner)
    while mother.stdout.readline() != "dead\n":
        pass


@pytest.mark.parametrize("moment", [*MOMENTS, "pod", "close"])
def test_kill_9_at_any_moment_leaves_nothing(moment: str, mother: subprocess.Popen[str], machine: Machine) -> None:
    delay = random.uniform(0, 0.06)

    kill_at(moment, delay, mother, machine.mark)

    left = machine.left(10)
    if moment == "lab":  # the cgroup may be there and its warden not yet: the next Lab() finds it
        left = [each for each in left if not each.startswith("cgroup ")]
    assert left == [], f"{delay * 1000:.1f} ms after {moment}"
    remove_abandoned()
    assert machine.left(10) == []


def test_kill_9_while_the_programs_are_compiled_leaves_nothing(owned_by, machine: Machine) -> None:
    code = "import kmesh_lab as km; lab = km.Lab(); print('compiling', flush=True); lab.node('n1')"
    with owned_by(code) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "compiling\n"
        time.sleep(random.uniform(0, 0.5))
        owner.kill()
        owner.wait(5)

    assert machine.left(10) == []


@pytest.mark.parametrize("cleaner", ["the next lab", "kmesh-lab clean"])
def test_what_is_left_when_the_warden_is_killed_too_goes_at_the_next_opportunity(
    owned_by, hierarchy: str, machine: Machine, cleaner: str
) -> None:
    with owned_by(f"{MAKE}\nimport signal; signal.pause()") as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "ready\n"
        for pid in machine.processes():
            if Path(f"/proc/{pid}/comm").read_text() == "kmesh-warden\n":
                os.kill(pid, signal.SIGKILL)
        owner.kill()
        owner.wait(5)
    (left,) = cgroup2_mount().glob("kmesh-lab-*/")
    assert machine.left(0.5) == [f"cgroup {left}"]

    if cleaner == "the next lab":
        km.Lab().close()
    else:
        command = f"{hierarchy}from kmesh_lab.cli import app; app(['clean'], prog_name='kmesh-lab')"
        said = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
        assert said == f"removed {left}: 1 node, 2 pods, 0 running processes\n"

    assert machine.left(10) == []


# ---- what is not ours


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A program of somebody else, attached to a cgroup that no lab has made; what the kernel says about its link."""
    place = cgroup2_mount() / f"foreign-{secrets.token_hex(4)}"
    place.mkdir()
    descriptor = os.open(place, os.O_RDONLY)
    module = Module(BPF_DIR / "kmesh.c")
    link = module.load("cgroup_connect4_prog").attach(descriptor)
    yield Path(f"/proc/self/fdinfo/{link.fd}")
    link.close()
    module.close()
    os.close(descriptor)
    place.rmdir()


def test_programs_of_others_stay(foreign: Path, owned_by, machine: Machine) -> None:
    before = foreign.read_text()
    with owned_by(f"{MAKE}\nimport signal; signal.pause()") as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "ready\n"
        owner.kill()
        owner.wait(5)
    assert machine.left(10) == []
    km.Lab().close()
    remove_abandoned()

    assert "attach_type:\t10" in before  # BPF_CGROUP_INET4_CONNECT; a link that lost its cgroup says cgroup_id 0
    assert foreign.read_text() == before

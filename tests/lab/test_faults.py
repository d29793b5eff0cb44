"""What the machine or the C lacks: an error of its own for each, with the next step, and nothing is left behind."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import kmesh_lab as km
from kmesh_lab.kernel import features
from kmesh_lab.kernel.cgroup import cgroup2_mount
from kmesh_lab.kernel.compiler import BPF_DIR
from kmesh_lab.traffic import pod_process
from tests.lab.conftest import rows
from tests.lab.outside import Machine, descriptors, run_as_nobody

pytestmark = pytest.mark.root

TRY = """
import kmesh_lab as km
try:
    km.Lab()
except km.LabError as error:
    print(type(error).__name__, error, sep=": ")
"""
TAIL = "Needed by every notebook; `kmesh-lab check` lists the rest."


def test_a_lab_needs_root() -> None:
    remedy = "run as root; in a container, with --privileged or --cap-add SYS_ADMIN, NET_ADMIN and NET_RAW"
    lacking = "root privileges: user 65534 lacks CAP_NET_ADMIN and CAP_SYS_ADMIN"

    assert run_as_nobody(TRY) == f"NotPrivileged: {lacking}; {remedy}. {TAIL}\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("umount --lazy {mount}", "no cgroup2 file system is mounted, and a node is a cgroup"),
        (
            "mount -o remount,bind,ro {mount}",
            "cgroup2 at {mount} is mounted read-only, as in a container without privileges",
        ),
    ],
)
def test_a_lab_needs_a_writable_cgroup2(command: str, reason: str) -> None:
    machine, mount = Machine(), cgroup2_mount()
    script = f'{command.format(mount=mount)} && exec "$0" -c "$1"'
    # In a mount namespace of its own: here, cgroup2 stays as it is.
    unshare = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, sys.executable, TRY]

    done = subprocess.run(unshare, capture_output=True, text=True, check=True)

    remedy = "`mount -t cgroup2 none DIR`, or `mount -o remount,rw DIR`; in a container, use --privileged"
    expected = f"CgroupUnavailable: writable cgroup2: {reason.format(mount=mount)}; {remedy}. {TAIL}\n"
    assert (done.stdout, done.stderr) == (expected, "")
    assert machine.left(10) == []
    assert cgroup2_mount() == mount


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("ringbuf maps", "ringbuf maps (CONFIG_BPF_SYSCALL, Linux 5.8)"),
        ("cgroup_sock_addr programs", "cgroup_sock_addr programs (CONFIG_CGROUP_BPF, Linux 4.17)"),
        ("bpf_link on cgroups", "bpf_link on cgroups (CONFIG_CGROUP_BPF, Linux 5.7)"),
    ],
)
def test_a_lab_needs_a_kernel_with_every_feature(monkeypatch, refused, name: str, missing: str) -> None:
    machine = Machine()
    absent = [
        replace(feature, attempt=lambda: (False, "trying")) if feature.name == name else feature
        for feature in features.FEATURES
    ]
    monkeypatch.setattr(features, "FEATURES", tuple(absent))

    with refused(km.KernelNotSupported, f"this kernel has no {missing}. {TAIL}"):
        km.Lab()

    assert machine.left(10) == []


def test_a_lab_needs_bcc(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)

    with pytest.raises(km.LabError, match=r"^bcc: import bcc: .*; install Debian's python3-bpfcc .*\. Needed by every"):
        km.Lab()


# ---- the learner's own C


@pytest.fixture
def bpf(tmp_path: Path) -> Path:
    """A copy of bpf/ to edit."""
    return Path(shutil.copytree(BPF_DIR, tmp_path / "bpf"))


def edit(path: Path, old: str, new: str) -> int:
    """Replace a piece of text that is there once; return the number of its line."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return text[: text.index(old)].count("\n") + 1


def test_the_usual_soft_limit_of_descriptors_does_not_limit_the_nodes(request) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(descriptors()) + 50, hard))

    with km.Lab() as lab:
        for number in range(1, 4):  # each takes more than 30
            lab.node(f"n{number}")


NO_MORE_DESCRIPTORS = """
import os, resource
import kmesh_lab as km
km.Lab().close()
there = len(os.listdir("/proc/self/fd"))
for room in reversed(range(8)):
    resource.setrlimit(resource.RLIMIT_NOFILE, (there + room, there + room))
    try:
        km.Lab()
    except Exception as error:
        print(type(error).__name__)
"""


def test_a_machine_that_has_no_descriptor_left_is_not_taken_for_another_kernel() -> None:
    done = subprocess.run([sys.executable, "-c", NO_MORE_DESCRIPTORS], capture_output=True, text=True, check=True)

    said = done.stdout.split()
    assert said[-1] == "OSError"  # Too many open files
    assert "KernelNotSupported" not in said


def test_c_that_does_not_compile_names_the_line(bpf: Path) -> None:
    machine = Machine()
    line = edit(bpf / "sendmsg.c", "storage->has_encoded = true;", "storage->has_encoded = ;")
    with km.Lab(source=bpf) as lab:
        with pytest.raises(km.CompileError) as error:
            lab.node("n1")

        where = f"bpf/sendmsg.c:{line}: expected expression"
        lines = len(error.value.log.splitlines())
        assert str(error.value) == f"{where}. The compiler's whole output is in .log ({lines} lines)."
        assert f"{bpf}/sendmsg.c:{line}:" in error.value.log
        assert repr(lab) == "<Lab: no nodes, no pods, no services>"
        assert list(lab._ground.cgroup.glob("*/")) == []

        edit(bpf / "sendmsg.c", "storage->has_encoded = ;", "storage->has_encoded = true;")
        assert repr(lab.node("n1")) == "<Node n1 no locality, no pods>"
    assert machine.left(10) == []


def test_c_that_the_verifier_rejects_names_the_line_and_the_reason(bpf: Path) -> None:
    machine = Machine()
    line = edit(bpf / "sendmsg.c", "bool ipv4 = msg->family == AF_INET;", "bool ipv4 = *(int *)msg->data;")
    with km.Lab(source=bpf / "kmesh.c") as lab:
        with pytest.raises(km.VerifierError) as error:
            lab.node("n1")

        assert error.value.program == "sendmsg_prog"
        assert "invalid access to packet, off=0 size=4" in error.value.log
        lines = len(error.value.log.strip().splitlines())
        message = str(error.value)
        assert message.startswith("program sendmsg_prog was rejected: ")
        assert message.endswith(f" (bpf/sendmsg.c:{line}). The whole log is in .log ({lines} lines).")
        assert repr(lab) == "<Lab: no nodes, no pods, no services>"
        assert list(lab._ground.cgroup.glob("*/")) == []
    assert machine.left(10) == []


def test_c_that_was_edited_is_what_runs(bpf: Path) -> None:
    text = (bpf / "include/workload.h").read_text()
    (bpf / "include/workload.h").write_text(text.replace("MAP_SIZE_OF_SERVICE 5000", "MAP_SIZE_OF_SERVICE 3"))

    with km.Lab(source=str(bpf)) as lab:
        node = lab.node("n1")
        assert repr(node.maps.service) == "<km_service: 0 of at most 3 rows>"
        many = {km.Service(f"s{i}", f"10.97.0.{i + 1}", [80]): [] for i in range(4)}
        with pytest.raises(km.MapFull, match=r"^map km_service is full: it holds 3 rows; delete some first$"):
            lab.apply(many)
        assert repr(node.maps) == "<Maps km_frontend: 0, km_service: 0, km_endpoint: 0, km_backend: 0, km_manage: 0>"


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_a_source_that_is_not_there(tmp_path: Path, refused, where: str) -> None:
    source = tmp_path / where
    path = source / "kmesh.c" if where == "." else source
    message = f"no C file {str(path)!r}; a copy of bpf/ has kmesh.c, which includes the others"

    with refused(km.LabError, message):
        km.Lab(source=source)


# ---- in the middle of it


def test_a_pod_that_cannot_start_leaves_no_trace(shop, monkeypatch) -> None:
    def state() -> tuple[object, ...]:
        for node in (shop.n1, shop.n2):
            node.publisher.settle()
        return dict(shop.lab.pods), sorted(shop.lab._ground.cgroup.rglob("*/")), descriptors()

    before = state()
    monkeypatch.setattr(shop.lab._ground, "_fabric", None)  # no wire

    with pytest.raises(AttributeError):
        shop.lab.pod("late", shop.n1)

    assert state() == before
    monkeypatch.undo()
    assert shop.lab.pod("late", shop.n1).connect(shop.inventory).backend is shop.near


def no_memory(*_: object) -> None:
    raise OSError(12, "no memory")


@pytest.mark.parametrize("step", ["put_workload", "enroll"])
def test_a_pod_that_cannot_be_published_or_enrolled_leaves_no_trace(shop, monkeypatch, step: str) -> None:
    before = rows(shop.n1, shop.n2)

    monkeypatch.setattr(km.Pod if step == "enroll" else shop.n2.publisher, step, no_memory)
    with pytest.raises(OSError, match="no memory"):
        shop.lab.pod("late", shop.n1, listen=8080)

    monkeypatch.undo()
    assert rows(shop.n1, shop.n2) == before
    assert "late" not in shop.lab.pods
    assert repr(shop.lab.pod("late", shop.n1)) == "<Pod late 10.244.1.3 cn-west/xian/a on n1>"


def test_a_waypoint_that_cannot_be_published_leaves_no_trace(shop, monkeypatch) -> None:
    before = rows(shop.n1, shop.n2)

    monkeypatch.setattr(shop.n2.publisher, "apply", no_memory)
    with pytest.raises(OSError, match="no memory"):
        shop.lab.waypoint("waypoint", shop.n1)

    monkeypatch.undo()
    assert rows(shop.n1, shop.n2) == before
    assert set(shop.lab.services) == {"inventory.shop"}
    assert repr(shop.lab.waypoint("waypoint", shop.n1)).startswith("<Waypoint waypoint 10.96.255.1:15008")


def test_a_pod_whose_delete_ctrl_c_interrupts_is_gone_and_its_name_is_free(shop, monkeypatch) -> None:
    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pod_process, "_wait_for_end", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        shop.lab.delete(shop.near)
    monkeypatch.undo()

    assert not shop.near.process.cgroup.exists()
    shop.lab.delete(shop.near)
    again = shop.lab.pod("inventory-a", shop.n1, listen=8080)
    shop.lab.apply(shop.inventory, [again, shop.far])
    assert shop.shop.connect(shop.inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"


def test_a_pod_whose_cgroup_is_not_removed_is_gone_and_its_name_is_free(shop, monkeypatch) -> None:
    monkeypatch.setattr(shop.lab._ground._cgroup, "remove_child", no_memory)
    with pytest.raises(OSError, match="no memory"):
        shop.lab.delete(shop.near)
    monkeypatch.undo()

    shop.lab.delete(shop.near)
    assert not shop.near.alive
    again = shop.lab.pod("inventory-a", shop.n1, listen=8080)
    assert shop.shop.connect(again).get("/stock/42") == "inventory-a: item 42: 7 in stock"


def test_a_waypoint_that_does_not_get_out_of_the_maps_stays_and_can_be_deleted_again(shop, monkeypatch) -> None:
    before = rows(shop.n1, shop.n2)
    waypoint = shop.lab.waypoint("waypoint", shop.n1)

    monkeypatch.setattr(shop.n2.publisher, "remove_workload", no_memory)
    with pytest.raises(OSError, match="no memory"):
        shop.lab.delete(waypoint)
    monkeypatch.undo()
    assert shop.lab.pods["waypoint"] is waypoint
    assert waypoint.alive
    shop.lab.delete(waypoint)

    assert "waypoint" not in shop.lab.pods
    assert rows(shop.n1, shop.n2) == before


def test_a_lab_without_a_node_has_nowhere_to_publish(lab, refused) -> None:
    message = "this lab has no node, so no maps to publish to; make one first: lab.node('n1')"
    with refused(km.LabError, message):
        lab.apply(km.Service("inventory", "10.96.0.10", [80]))
    with refused(km.LabError, "no node 'n1' in this lab; there is none yet"):
        lab.pod("shop", "n1")
    with refused(km.LabError, "no pod or service 'shop' in this lab, and no address either; there is nothing yet"):
        lab.delete("shop")


def test_a_closed_lab_refuses_everything_and_says_how_to_go_on(shop, refused) -> None:
    lab, connection = shop.lab, shop.shop.connect(shop.inventory)
    waypoint = lab.waypoint("waypoint", shop.n1)
    assert lab.close().left == ()

    calls = [
        lambda: lab.node("n3"),
        lambda: lab.pod("late", shop.n1),
        lambda: lab.waypoint("waypoint-2", shop.n1),
        lambda: lab.apply(shop.inventory, [shop.near]),
        lambda: lab.delete(shop.inventory),
        lambda: lab.delete("shop"),
        lab.events,
        lab.picture,
        lambda: shop.shop.connect(shop.inventory),
        lambda: shop.shop.connect("10.96.0.10", 80),
        lambda: shop.shop.connect_many(shop.inventory),
        shop.shop.enroll,
        lambda: shop.shop.enrolled,
        lambda: shop.n1.maps,
        lambda: shop.n1.lost,
        lambda: shop.n1.configure(monitoring=False),
        waypoint.captured,
    ]
    for call in calls:
        with refused(km.LabError, "this lab is closed; make another one with Lab()"):
            call()
    assert connection.closed
    assert (lab.nodes, lab.pods, lab.services) == ({}, {}, {})
    nothing = "<Receipt: no nodes, no pods, no services, no programs removed; left behind: nothing>"
    assert repr(lab.close()) == nothing

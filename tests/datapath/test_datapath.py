"""The programs of a node: loaded, attached, switched, read, and gone."""

import ctypes
import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

import kmesh_lab as km
from kmesh_lab.datapath.datapath import Datapath, Lost
from kmesh_lab.errors import CompileError, LabError, VerifierError
from kmesh_lab.kernel.cgroup import LabCgroup
from kmesh_lab.kernel.libbpf import MapInfo, libbpf, object_info
from kmesh_lab.kernel.program import BPF_DIR

pytestmark = pytest.mark.root

ATTACHED = {  # name in the kernel: 15 characters
    "cgroup_connect4",
    "cgroup_connect6",
    "bpf_redirect_dn",
    "bpf_restore_dns",
    "sockops_prog",
    "cgroup_skb_ingr",
    "cgroup_skb_egre",
}
TRACED = ("KL_CONNECT", "KL_VERDICT", "KL_TLV", "KL_ESTABLISHED")


@pytest.fixture
def datapath(cgroup):
    datapath = Datapath(cgroup)
    yield datapath
    datapath.close()


def attached(cgroup):
    done = subprocess.run(["bpftool", "-j", "cgroup", "show", cgroup], capture_output=True, text=True, check=False)
    return sorted(each["name"] for each in json.loads(done.stdout.strip() or "[]"))


def in_kernel():
    """The ids of all programs and maps of this machine.

    Not from bpftool, which opens every map: to open a program array again while the kernel empties it, because its last
    descriptor was closed, makes the kernel (6.18) keep it for ever.
    """
    return {kind: set(all_ids(f"bpf_{kind}_get_next_id")) for kind in ("prog", "map")}


def all_ids(function):
    number = ctypes.c_uint32(0)
    while getattr(libbpf(), function)(number.value, ctypes.byref(number)) == 0:
        yield number.value


def held_by_this_process():
    """The ids of programs, maps and links that descriptors of this process hold."""
    found = set()
    for number in os.listdir("/proc/self/fdinfo"):
        try:
            lines = Path(f"/proc/self/fdinfo/{number}").read_text().splitlines()
        except OSError:  # the one that lists them
            continue
        found |= {tuple(line.split()) for line in lines if line.startswith(("prog_id", "map_id", "link_id"))}
    return found


def gone(ids, within=5.0):
    """Whether maps and programs are freed in that time: the kernel does that after a grace period."""
    end = time.monotonic() + within
    while any(ids[kind] & now for kind, now in in_kernel().items()):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def program_id(program):
    fields = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{program.fd}").read_text().splitlines())
    return int(fields["prog_id"])


def ids_of(datapath):
    maps = {object_info(each.fd, MapInfo).id for each in datapath.maps.values()}
    return {"prog": {program_id(each) for each in datapath.programs.values()}, "map": maps}


def test_seven_programs_are_attached_to_the_cgroup_and_one_to_the_sockhash(datapath, cgroup):
    sockhash = object_info(datapath.maps["km_socket"].fd, MapInfo).id

    assert attached(cgroup) == sorted(ATTACHED)
    assert len(datapath.programs) == 8
    assert len(ids_of(datapath)["prog"]) == 8
    assert sockhash in ids_of(datapath)["map"]


def test_each_connect_program_is_in_the_slot_from_which_it_calls_itself(datapath):
    slots = {
        (name, at): int.from_bytes(value, "little")
        for name in ("km_cgr_tailcall", "km_cgr_tail6")
        for at in range(8)
        if (value := datapath.maps[name].lookup(at.to_bytes(4, "little")))
    }

    assert slots == {
        ("km_cgr_tailcall", 0): program_id(datapath.programs["cgroup_connect4_prog"]),
        ("km_cgr_tail6", 1): program_id(datapath.programs["cgroup_connect6_prog"]),
    }


def test_closing_leaves_no_program_no_map_and_no_descriptor(cgroup):
    before = held_by_this_process()
    datapath = Datapath(cgroup)
    ids = ids_of(datapath)

    datapath.close()
    datapath.close()

    assert len(ids["prog"]) == 8
    assert len(ids["map"]) == 16
    assert held_by_this_process() == before
    assert gone(ids)
    assert attached(cgroup) == []


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda text: text.replace("int ret;", "int rot;", 1), CompileError, "use of undeclared identifier 'ret'"),
        (
            lambda text: text.replace("return CGROUP_SOCK_OK;", "return 7;"),
            VerifierError,
            "was rejected: At program exit",
        ),
        (lambda text: text.replace('SEC("cgroup/sendmsg4")', ""), LabError, "has no program bpf_redirect_dns_send; a"),
    ],
)
def test_a_data_path_that_cannot_be_made_leaves_nothing(cgroup, tmp_path, break_it, error, message):
    for path in [*BPF_DIR.glob("*.c"), *BPF_DIR.glob("include/*.h")]:
        copy = tmp_path / path.relative_to(BPF_DIR)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(break_it(path.read_text()) if path.name == "cgroup_sock.c" else path.read_text())
    before = held_by_this_process()

    with pytest.raises(error, match=message):
        Datapath(cgroup, source=tmp_path / "kmesh.c")

    assert attached(cgroup) == []
    assert held_by_this_process() == before


def test_a_cgroup_that_is_not_there_leaves_nothing(cgroup):
    before = held_by_this_process()

    with pytest.raises(FileNotFoundError):
        Datapath(cgroup / "missing")

    assert held_by_this_process() == before


def test_two_nodes_have_the_same_programs_and_maps_of_their_own(datapath):
    with LabCgroup.create() as lab:
        other = Datapath(lab.child("n2"))
        one, two = ids_of(datapath), ids_of(other)
        other.close()

    assert datapath.module.image is other.module.image
    assert one["map"].isdisjoint(two["map"])
    assert one["prog"].isdisjoint(two["prog"])


def test_without_the_trace_a_decision_has_no_steps(cgroup):
    datapath = Datapath(cgroup, trace=False)
    try:
        assert "kl_trace" not in datapath.maps
        datapath.collect_trace()
        assert datapath.decision(1).steps == ()
        assert datapath.lost() == Lost(0, 0, 0)
    finally:
        datapath.close()


@pytest.mark.parametrize(
    ("switches", "row"),
    [
        ({}, "0000000000000000"),
        ({"monitoring": False}, "0100000000000000"),
        ({"periodic_report": True}, "0000000001000000"),
    ],
)
def test_switches_are_written_and_the_addresses_beside_them_kept(datapath, switches, row):
    addresses = bytes(range(1, 33))
    datapath.maps["kl_config"].update(bytes(4), b"\xff" * 8 + addresses)

    datapath.configure(**switches)

    assert datapath.maps["kl_config"].lookup(bytes(4)) == bytes.fromhex(row) + addresses


def test_memory_is_that_of_all_maps(datapath):
    assert datapath.memory() == sum(each.memory() for each in datapath.maps.values()) > (1 << 20)


def test_a_closed_data_path_has_no_events(cgroup):
    datapath = Datapath(cgroup)
    datapath.close()

    assert datapath.events(wait_ms=10) == []
    assert datapath.auth_requests() == []


def test_closing_waits_for_whoever_is_reading(cgroup):
    """The reader polls memory that closing unmaps."""
    datapath, ends = Datapath(cgroup), []
    reader = threading.Thread(target=lambda: ends.append(("read", datapath.events(wait_ms=300))))
    reader.start()
    time.sleep(0.1)

    datapath.close()
    ends.append(("closed", None))
    reader.join()

    assert ends == [("read", []), ("closed", None)]


def test_what_the_last_publication_failed_with_is_raised_at_the_end_and_all_is_closed(cgroup, monkeypatch):
    before = held_by_this_process()
    datapath = Datapath(cgroup)
    monkeypatch.setattr(datapath.publisher, "_failure", OSError(5, "no grace period"))

    with pytest.raises(OSError, match="no grace period"):
        datapath.close()

    assert attached(cgroup) == []
    assert held_by_this_process() == before


def test_a_source_outside_bpf_reports_the_lines_of_the_files_that_it_includes(tmp_path):
    source = tmp_path / "mine.c"
    source.write_text(f'#include "{os.path.relpath(BPF_DIR, tmp_path)}/kmesh.c"\n')

    with km.Lab(source=source) as lab:
        node = lab.node("n1")
        shop, pod = lab.pod("shop", node), lab.pod("a", node, listen=8080)
        lab.apply(km.Service("inventory.shop", "10.96.0.10", {80: 8080}), [pod])
        locations = [step.location for step in shop.connect("10.96.0.10", 80).decision.steps]

    assert [location.file for location in locations] == [
        "cgroup_sock.c",
        "include/frontend.h",
        "include/service.h",
        "include/service.h",
        "include/endpoint.h",
        "include/backend.h",
        "cgroup_sock.c",
        "sockops.c",
    ]
    for location in locations:
        assert location.function in (BPF_DIR / location.file).read_text()

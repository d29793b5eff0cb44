"""Our programs have Kmesh's interface: map names, types, sizes and flags, field offsets, numbers.

Each fact names the upstream file that it was taken from (kmesh-net/kmesh at commit ec501a9).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmesh_lab.kernel.compiler import BPF_DIR, Image, compile_c
from kmesh_lab.kernel.objectfile import ObjectFile
from kmesh_lab.mesh import MAX_PORTS, WAYPOINT_TARGET_PORT, Policy
from kmesh_lab.traffic import tlv_bytes, waypoint
from kmesh_lab.traffic.agent import ENROL_PORT, UNENROL_PORT

pytestmark = pytest.mark.root

HASH, PROG_ARRAY, SOCKHASH, SK_STORAGE, RINGBUF = 1, 3, 18, 24, 27
NO_PREALLOC = 1

# name: (type, flags, max_entries, key bytes, value bytes)
# from workload.h, config.h, bpf_common.h, sockops.c and tail_call.h
MAPS = {
    "km_frontend": (HASH, NO_PREALLOC, 105_000, 16, 4),
    "km_service": (HASH, NO_PREALLOC, 5_000, 4, 132),
    "km_endpoint": (HASH, NO_PREALLOC, 105_000, 12, 4),
    "km_backend": (HASH, NO_PREALLOC, 100_000, 4, 80),
    "km_manage": (HASH, NO_PREALLOC, 8_192, 16, 4),
    "km_auth_res": (HASH, NO_PREALLOC, 8_192, 36, 4),
    "km_sockstorage": (SK_STORAGE, NO_PREALLOC, 0, 4, 64),
    "km_socket": (SOCKHASH, 0, 8_192, 36, 4),
    "km_cgr_tailcall": (PROG_ARRAY, 0, 8, 4, 4),
    "km_cgr_tail6": (PROG_ARRAY, 0, 8, 4, 4),
    "km_tcp_probe": (RINGBUF, 0, 262_144, 0, 0),
    "km_auth_req": (RINGBUF, 0, 4_096, 0, 0),
}

# map: {field of the value: offset}, from workload.h, bpf_common.h, tcp_probe.h
OFFSETS = {
    "km_service": {"prio_endpoint_count": 0, "lb_policy": 28, "service_port": 32, "target_port": 72, "wp_addr": 112},
    "km_backend": {"addr": 0, "service_count": 16, "service": 20, "wp_addr": 60, "waypoint_port": 76},
    "km_sockstorage": {"connect_ns": 0, "last_report_ns": 8, "direction": 16, "connect_success": 17},
    "km_tcp_probe": {"type": 0, "sent_bytes": 60, "state": 76, "duration": 80, "protocol": 104, "lost_out": 120},
}

PROGRAMS = {  # from cgroup_sock.c, sockops.c, sendmsg.c, cgroup_skb.c
    "cgroup_connect4_prog": "cgroup/connect4",
    "cgroup_connect6_prog": "cgroup/connect6",
    "bpf_redirect_dns_send": "cgroup/sendmsg4",
    "bpf_restore_dns_recv": "cgroup/recvmsg4",
    "sockops_prog": "sockops",
    "sendmsg_prog": "sk_msg",
    "cgroup_skb_ingress_prog": "cgroup_skb/ingress",
    "cgroup_skb_egress_prog": "cgroup_skb/egress",
}


@pytest.fixture(scope="module")
def image() -> Image:
    return compile_c(BPF_DIR / "kmesh.c", {})


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ObjectFile]]:
    folder = tmp_path_factory.mktemp("objects")
    machine = subprocess.run(["uname", "-m"], check=True, capture_output=True, text=True).stdout.strip()
    loaded = []
    for name in ("cgroup_sock", "sockops", "sendmsg", "cgroup_skb"):
        flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v2", "-Wall", "-Werror"]
        include = ["-idirafter", f"/usr/include/{machine}-linux-gnu"]
        target = folder / f"{name}.o"
        subprocess.run(["clang", *flags, *include, "-c", str(BPF_DIR / f"{name}.c"), "-o", str(target)], check=True)
        loaded.append(ObjectFile(target))
    yield loaded
    for each in loaded:
        each.close()


def header(name: str) -> str:
    return Path(BPF_DIR, "include", name).read_text()


@pytest.mark.parametrize("name", MAPS)
def test_a_map_of_the_bcc_build_has_kmeshs_type_and_sizes(image: Image, name: str) -> None:
    spec = image.maps[name]
    assert (spec.type, spec.flags, spec.max_entries, spec.key_size, spec.value_size) == MAPS[name]


def test_the_maps_of_the_clang_build_have_the_same_sizes(objects: list[ObjectFile]) -> None:
    sizes = {
        name: (each.max_entries, each.key_size, each.value_size)
        for loaded in objects
        for name, each in loaded.maps.items()
        if name.startswith("km_")
    }
    assert sizes == {name: facts[2:] for name, facts in MAPS.items()}


def test_the_maps_that_are_not_kmeshs_say_so_in_their_names(image: Image) -> None:
    assert {name for name in image.maps if name not in MAPS} == {"kl_config", "kl_lost"}


@pytest.mark.parametrize("name", OFFSETS)
def test_the_fields_of_a_row_lie_where_kmesh_has_them(image: Image, name: str) -> None:
    layout = image.maps[name].value
    found = {}
    for field, where in OFFSETS[name].items():
        count = dict(layout.fields)[field]
        value = b"\xff" if count == 0 else 255 if count == 1 else (255,)
        found[field] = layout.pack(**{field: value}).index(0xFF)
        assert found[field] == where, field
    assert found == OFFSETS[name]


def test_both_builds_have_kmeshs_programs_at_kmeshs_hooks(image: Image, objects: list[ObjectFile]) -> None:
    assert {name: program.section for name, program in image.programs.items()} == PROGRAMS
    built = {name: program.section for loaded in objects for name, program in loaded.programs.items()}
    assert built == PROGRAMS


def test_the_policies_have_kmeshs_numbers_in_c_and_in_python() -> None:
    numbers = {name: int(value) for name, value in re.findall(r"LB_POLICY_(\w+) = (\d)", header("workload.h"))}
    assert numbers == {"RANDOM": 0, "STRICT": 1, "FAILOVER": 2}
    assert numbers == {policy.name: policy.value for policy in Policy}


def test_seven_priorities_and_ten_ports() -> None:
    text = header("workload.h")
    assert re.findall(r"#define PRIO_COUNT\s+(\d+)", text) == ["7"]
    assert re.findall(r"#define MAX_PORT_COUNT\s+(\d+)", text) == ["10"] == [str(MAX_PORTS)]


def test_the_control_ports_are_929_and_930() -> None:
    ports = [int(port) for port in re.findall(r"#define CONTROL_PORT_\w+ (\d+)", header("manage.h"))]
    assert ports == [929, 930] == [ENROL_PORT, UNENROL_PORT]


def test_a_waypoint_listens_on_the_port_to_which_its_service_leads() -> None:
    assert waypoint.PORT == WAYPOINT_TARGET_PORT


def test_the_tlv_has_the_same_numbers_in_c_and_in_python() -> None:
    numbers = {name: int(value, 0) for name, value in re.findall(r"#define (TLV_\w+) (\w+)", header("tlv.h"))}
    assert numbers == {name: getattr(tlv_bytes, name) for name in numbers}
    assert numbers == {
        "TLV_ORG_DST_ADDR": 0x01,
        "TLV_PAYLOAD": 0xFE,
        "TLV_ORG_DST_ADDR4_LENGTH": 6,
        "TLV_ORG_DST_ADDR6_LENGTH": 18,
    }

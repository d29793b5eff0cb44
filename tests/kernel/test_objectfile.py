"""Object files of plain clang, loaded by libbpf."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kmesh_lab.errors import LabError, VerifierError
from kmesh_lab.kernel.compiler import BPF_DIR
from kmesh_lab.kernel.libbpf import libbpf
from kmesh_lab.kernel.objectfile import ObjectFile

pytestmark = pytest.mark.root

TWO_MAPS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define MAP(map_type, entries, value_type) \\
	struct { __uint(type, map_type); __uint(max_entries, entries); __type(key, int); __type(value, value_type); }
MAP(BPF_MAP_TYPE_HASH, 8, VALUE) counts SEC(".maps");
MAP(BPF_MAP_TYPE_ARRAY, 1, int) other SEC(".maps");
SEC("cgroup_skb/ingress") int count(struct __sk_buff *skb)
{
	int key = 1;
	VALUE *value = bpf_map_lookup_elem(&counts, &key);
	int *seen = bpf_map_lookup_elem(&other, &key);
	CHECK
		(*value)++;
	return seen ? 1 : 1;
}
char _license[] SEC("license") = "Dual BSD/GPL";
"""
PER_CPU = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct three { char bytes[3]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_KIND);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct three);
} each SEC(".maps");
SEC("cgroup_skb/ingress") int look(struct __sk_buff *skb)
{
	int key = 0;
	return bpf_map_lookup_elem(&each, &key) ? 1 : 1;
}
char _license[] SEC("license") = "Dual BSD/GPL";
"""
INCLUDES = ["-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu"]


@pytest.fixture
def build(tmp_path: Path):
    """Compile a program that counts in a map: ``build(VALUE="long", CHECK="if (value)")``."""

    def compile_it(**defines: str) -> Path:
        flags = [f"-D{name}={value}" for name, value in {"VALUE": "int", "CHECK": "if (value)", **defines}.items()]
        target = tmp_path / f"{len(list(tmp_path.iterdir()))}.o"
        command = ["clang", "-O2", "-g", "-target", "bpf", *INCLUDES, *flags, "-x", "c", "-c", "-", "-o", str(target)]
        subprocess.run(command, input=TWO_MAPS, text=True, check=True)
        return target

    return compile_it


def test_the_four_files_of_a_node_share_their_maps_by_name(tmp_path):
    maps, names = {}, set()
    for name in ("cgroup_sock", "sockops", "sendmsg", "cgroup_skb"):
        target = tmp_path / f"{name}.o"
        subprocess.run(
            ["clang", "-O2", "-g", "-target", "bpf", *INCLUDES, "-c", f"{BPF_DIR}/{name}.c", "-o", str(target)],
            check=True,
        )
        file = ObjectFile(target, reuse=maps)
        maps = file.maps | maps
        names |= set(file.programs)
        if name == "sendmsg":
            file.maps["km_manage"].update(bytes(16), bytes(4))
    assert maps["km_manage"].lookup(bytes(16)) == bytes(4)
    assert {"cgroup_connect4_prog", "sockops_prog", "sendmsg_prog", "cgroup_skb_egress_prog"} <= names


@pytest.mark.parametrize("trace", [[], ["-DKL_TRACE", "-DKL_TRACE_RING_SIZE=4096"]], ids=["plain", "traced"])
def test_the_build_for_a_stock_envoy_passes_the_verifier_and_differs_in_nothing_else(tmp_path, trace):
    for name, switch in (("tlv", []), ("proxy", ["-DKL_PROXY_V2"])):
        flags = ["-O2", "-g", "-target", "bpf", "-Wall", "-Werror", *INCLUDES, *trace, *switch]
        command = ["clang", *flags, "-c", f"{BPF_DIR}/sendmsg.c", "-o", f"{tmp_path}/{name}.o"]
        subprocess.run(command, check=True)
    with ObjectFile(tmp_path / "proxy.o") as proxy, ObjectFile(tmp_path / "tlv.o") as tlv:
        assert list(proxy.programs) == list(tlv.programs) == ["sendmsg_prog"]
        assert set(proxy.maps) == set(tlv.maps)


def test_a_file_shows_its_programs_and_maps_and_close_gives_them_back(build):
    before = os.listdir("/proc/self/fd")
    with ObjectFile(build()) as file:
        assert repr(file.programs) == "{'count': <Program count cgroup_skb/ingress>}"
        assert repr(file.maps["counts"]) == "<Map counts key 4 B, value 4 B, at most 8 rows>"
        assert set(file.maps) == {"counts", "other"}
    assert repr(file) == f"<ObjectFile {file.path.name}: closed>"
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_program_that_the_verifier_refuses_comes_with_the_whole_log(build):
    with pytest.raises(
        VerifierError, match=r"^program count was rejected: R\d invalid mem access 'map_value_or_null'"
    ) as refused:
        ObjectFile(build(CHECK="if (1)"))
    assert refused.value.program == "count"
    assert "processed " in refused.value.log


def test_a_map_of_another_size_is_not_reused(build):
    wide = ObjectFile(build(VALUE="long"))
    with pytest.raises(LabError, match=r"wants <Map counts .* value 4 B.*>, but was given <Map counts .* value 8 B"):
        ObjectFile(build(), reuse=wide.maps)


def test_a_reused_map_is_not_made(build):
    first = ObjectFile(build())
    renamed = {"counts": replace(first.maps["counts"])}
    second = ObjectFile(build(), reuse=renamed)
    first.maps["counts"].update(bytes(4), bytes([7, 0, 0, 0]))
    assert second.maps["counts"].lookup(bytes(4)) == bytes([7, 0, 0, 0])
    assert second.maps["other"].fd != first.maps["other"].fd


@pytest.mark.parametrize("kind", ["HASH", "ARRAY"])
def test_a_per_cpu_map_is_read_with_the_values_of_all_cpus(tmp_path, kind):
    source = tmp_path / "each.c"
    source.write_text(PER_CPU.replace("KIND", kind))
    command = ["clang", "-O2", "-g", "-target", "bpf", *INCLUDES, "-c", str(source), "-o", f"{tmp_path}/each.o"]
    subprocess.run(command, check=True)
    cpus = libbpf().libbpf_num_possible_cpus()
    with ObjectFile(tmp_path / "each.o") as file, ObjectFile(tmp_path / "each.o", reuse=file.maps) as again:
        each = file.maps["each"]
        assert each.value_size == 8 * cpus  # every CPU's three bytes take eight
        values = b"".join(bytes([cpu, 2, 3]).ljust(8, b"\0") for cpu in range(cpus))
        each.update(bytes(4), values)
        assert again.maps["each"].lookup(bytes(4)) == values
        assert each.rows() == [(bytes(4), values)]


def test_what_is_no_object_file_is_refused_with_the_next_step(tmp_path):
    text = tmp_path / "readme.o"
    text.write_text("not ELF")
    with pytest.raises(LabError, match=r"readme\.o was not opened as a BPF object: .+; `make bpf` builds them$"):
        ObjectFile(text)

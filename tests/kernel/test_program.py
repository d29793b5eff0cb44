"""Programs in the kernel: their maps, their links, and what is left of them."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from learner_c import REFUSING

from kmesh_lab.errors import KernelNotSupported, LabError, NotPrivileged
from kmesh_lab.kernel.libbpf import call
from kmesh_lab.kernel.program import Module
from kmesh_lab.kernel.testrun import run_on_packet

pytestmark = pytest.mark.root

CONNECT = "import socket, sys; sys.exit(socket.socket().connect_ex(('127.0.0.1', 9)))"

# Attaches the program that refuses to a cgroup, says so, and waits to be killed.
OWNER = """
import os, sys, time
from pathlib import Path
from kmesh_lab.kernel.program import Module
program = Module(Path(sys.argv[1])).load("refuse")
link = program.attach(os.open(sys.argv[2], os.O_RDONLY))
print("attached", flush=True)
time.sleep(60)
"""


def connect_errno(cgroup):
    """What connect(2) to a port where nobody listens says in that cgroup."""
    join = f'echo $$ > {cgroup}/cgroup.procs && exec {sys.executable} -I -S -c "$0"'
    return subprocess.run(["sh", "-c", join, CONNECT], check=False).returncode


def attached(cgroup):
    """The names of the programs attached to exactly this cgroup."""
    done = subprocess.run(["bpftool", "-j", "cgroup", "show", cgroup], capture_output=True, text=True, check=False)
    return [program["name"] for program in json.loads(done.stdout.strip() or "[]")]


def test_an_attached_program_runs_for_its_cgroup_and_for_no_other(refusing, cgroup, open_folder):
    sibling = cgroup.parent / "n2"
    sibling.mkdir()

    refusing.attach(open_folder(cgroup))

    assert connect_errno(cgroup) == errno.EPERM
    assert connect_errno(sibling) == errno.ECONNREFUSED
    assert (attached(cgroup), attached(sibling)) == (["refuse"], [])


def test_a_closed_link_is_detached_and_can_be_closed_again(refusing, cgroup, open_folder):
    link = refusing.attach(open_folder(cgroup))
    link.close()
    link.close()

    assert connect_errno(cgroup) == errno.ECONNREFUSED
    assert attached(cgroup) == []


def test_programs_of_others_on_the_same_cgroup_and_above_stay(load, cgroup, open_folder):
    others = load(REFUSING.replace("refuse", "of_others"))
    ours = load("""
        SEC("cgroup/connect4")
        int ours(struct bpf_sock_addr *ctx)
        {
            return 1;
        }
        """)
    above, same = (others.load("of_others").attach(open_folder(path)) for path in (cgroup.parent, cgroup))
    link = ours.load("ours").attach(open_folder(cgroup))

    link.close()
    ours.close()

    assert (attached(cgroup.parent), attached(cgroup)) == (["of_others"], ["of_others"])
    assert connect_errno(cgroup) == errno.EPERM
    above.close()
    same.close()


def test_a_program_above_that_allows_no_other_is_named_as_the_reason(refusing, cgroup, open_folder):
    call("bpf_prog_attach", refusing.fd, open_folder(cgroup.parent), refusing.attach_type, 0)

    with pytest.raises(LabError, match=r"program refuse was not attached: .* allows no other .*bpftool cgroup tree"):
        refusing.attach(open_folder(cgroup))


def test_a_link_dies_with_its_process_however_that_ends(write, cgroup):
    command = [sys.executable, "-c", OWNER, write(REFUSING).path, cgroup]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "attached\n"
        while_it_lived = connect_errno(cgroup)
        owner.send_signal(signal.SIGKILL)

    assert while_it_lived == errno.EPERM
    assert connect_errno(cgroup) == errno.ECONNREFUSED
    assert attached(cgroup) == []


def test_an_unknown_program_is_refused_with_the_names_of_those_there(load):
    with pytest.raises(LabError, match=r"^no program 'accept' here; there is refuse$"):
        load(REFUSING).load("accept")


def test_nothing_can_be_loaded_from_a_closed_module(load):
    module = load(REFUSING)
    module.close()
    module.close()

    with pytest.raises(LabError, match="program 'refuse' was not loaded: the module is closed"):
        module.load("refuse")


def test_a_program_shows_its_name_and_its_hook(refusing):
    assert repr(refusing) == "<Program refuse cgroup/connect4>"


def test_a_second_module_of_the_same_source_has_maps_of_its_own_and_is_not_compiled_again(write):
    source = write("BPF_HASH(rows, u32, u32, 4);" + REFUSING).path
    first, second = Module(source), Module(source)

    first.maps["rows"].update(b"\1\0\0\0", b"\2\0\0\0")

    assert first.image is second.image
    assert (first.maps["rows"].rows(), second.maps["rows"].rows()) == ([(b"\1\0\0\0", b"\2\0\0\0")], [])
    first.close()
    second.close()


def test_the_program_uses_the_maps_of_its_own_module(load):
    text = """
        BPF_ARRAY(calls, u64, 1);
        SEC("socket")
        int count(struct __sk_buff *skb)
        {
            int key = 0;
            u64 *value = calls.lookup(&key);

            if (value)
                *value += 1;
            return 0;
        }
        """
    first, second = load(text), load(text)
    program = first.load("count")

    run_on_packet(program, times=3)

    assert first.maps["calls"].lookup(bytes(4)) == (3).to_bytes(8, "little")
    assert second.maps["calls"].lookup(bytes(4)) == bytes(8)


def test_ten_rounds_leave_no_descriptor(write, cgroup, descriptors):
    source = write("BPF_HASH(rows, u32, u32, 4);" + REFUSING).path
    folder = os.open(cgroup, os.O_RDONLY)
    before = descriptors()

    for _ in range(10):
        module = Module(source)
        link = module.load("refuse").attach(folder)
        link.close()
        module.close()

    assert descriptors() == before
    os.close(folder)


def test_a_module_that_cannot_be_made_leaves_no_descriptor(load, monkeypatch, descriptors):
    text = "BPF_HASH(rows, u32, u32, 4);\nBPF_HASH(more, u32, u32, 4);" + REFUSING
    image = load(text).image
    before = descriptors()
    monkeypatch.setitem(image.maps["more"].__dict__, "max_entries", 0)

    with pytest.raises(OSError, match="bpf_map_create: Invalid argument"):
        load(text)

    assert descriptors() == before


def test_a_module_needs_no_maps_at_all_and_none_with_types(load):
    assert load(REFUSING).maps == {}
    assert list(load("BPF_PROG_ARRAY(calls, 4);" + REFUSING).maps) == ["calls"]


def test_a_value_of_a_per_cpu_map_holds_all_cpus(load):
    values = load("BPF_PERCPU_ARRAY(each, u32, 1);" + REFUSING).maps["each"]
    cpus = call("libbpf_num_possible_cpus")

    values.update(bytes(4), b"".join(cpu.to_bytes(8, "little") for cpu in range(cpus)))

    assert values.lookup(bytes(4)) == b"".join(cpu.to_bytes(8, "little") for cpu in range(cpus))


def test_whoever_is_not_root_is_told_so(bpf):
    code = "import sys, pathlib; from kmesh_lab.kernel.program import Module; Module(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, bpf / "kmesh.c"]

    done = subprocess.run(command, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)

    assert done.stderr.splitlines()[-1] == (
        f"{NotPrivileged.__module__}.NotPrivileged: the maps were not made: Operation not permitted; run as root"
    )


def test_a_program_that_the_kernel_takes_away_from_nobody_is_not_loaded(bpf):
    """Maps were made by root, and then the privileges went: the second look of the verifier says so, too."""
    code = """
import os, sys, pathlib
from kmesh_lab.kernel.program import Module
module = Module(pathlib.Path(sys.argv[1]))
os.setresuid(65534, 65534, 65534)
module.load("cgroup_connect4_prog")
"""

    done = subprocess.run([sys.executable, "-c", code, bpf / "kmesh.c"], capture_output=True, text=True)

    last = done.stderr.splitlines()[-1]
    assert last.endswith("program cgroup_connect4_prog was not loaded: Operation not permitted; run as root")
    assert "NotPrivileged" in last


def test_a_forked_child_does_not_keep_programs_alive(cgroup):
    """The child of a notebook that used multiprocessing may outlive it."""
    code = """
import os, sys, time
from pathlib import Path
from kmesh_lab.datapath.datapath import Datapath
datapath = Datapath(Path(sys.argv[1]))
child = os.fork()
if not child:
    os.close(1)
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, cgroup], stdout=subprocess.PIPE, text=True) as owner:
        child = int(owner.stdout.readline())
        while_it_lived = attached(cgroup)
        owner.kill()
    try:
        assert "cgroup_connect4_prog"[:15] in while_it_lived
        assert attached(cgroup) == []
        assert Path(f"/proc/{child}").exists()
        assert [
            name for name in os.listdir(f"/proc/{child}/fd") if "bpf" in os.readlink(f"/proc/{child}/fd/{name}")
        ] == []
    finally:
        os.kill(child, signal.SIGKILL)


TRACEPOINT = """
BPF_ARRAY(seen, u64, 1);
SEC("raw_tracepoint/{name}")
int count(struct bpf_raw_tracepoint_args *ctx)
{{
	int zero = 0;
	u64 *value = seen.lookup(&zero);

	if (value)
		__sync_fetch_and_add(value, 1);
	return 0;
}}
"""


def test_a_program_on_a_raw_tracepoint_runs_until_its_link_is_closed(load):
    module = load(TRACEPOINT.format(name="sys_enter"))
    link = module.load("count").attach_to_tracepoint()
    os.getppid()
    link.close()

    reads = [module.maps["seen"].lookup(bytes(4))]
    while (
        len(reads) < 2 or reads[-2] != reads[-1]
    ):  # the kernel lets go of it a moment later; every read is a call, too
        reads.append(module.maps["seen"].lookup(bytes(4)))

    assert int.from_bytes(reads[-1], "little") > 0


def test_a_tracepoint_that_the_kernel_lacks_is_named(load):
    program = load(TRACEPOINT.format(name="no_such_event")).load("count")

    with pytest.raises(KernelNotSupported, match=r"program count was not attached: .* no tracepoint 'no_such_event'"):
        program.attach_to_tracepoint()

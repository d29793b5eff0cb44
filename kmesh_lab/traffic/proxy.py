"""A pod with an Envoy in it: an `agent` that also starts Envoy, configures it and sends the pod's traffic through it.

Envoy is a child of the pod's process, in the same network namespace and cgroup, with a user of its own. It ends with
the pod's process however that ends. Its configuration comes from `xds`, its bootstrap and its log are memory files, so
nothing of it is in any file system.

Runs inside the pod's process. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from kmesh_lab.traffic import redirect
from kmesh_lab.traffic.agent import Agent, Answer, run
from kmesh_lab.traffic.xds import XdsServer

__all__ = ["ProxyAgent", "main"]

_WORKERS = 2  # as Istio's sidecar by default
_USER = str(redirect.ENVOY_USER)
_AS_ITS_USER = ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--pdeathsig=KILL")
_UNPRIVILEGED_PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"  # of this network namespace


class ProxyAgent(Agent):
    """A pod that has an Envoy."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._xds = XdsServer()
        self._envoy: subprocess.Popen[bytes] | None = None
        self._log = os.memfd_create("envoy.log")

    def end(self) -> None:
        """Kill Envoy and take its exit status: whoever would inherit it may never ask for that."""
        if self._envoy is not None:
            self._envoy.kill()
            self._envoy.wait()

    def _op_envoy_start(self, binary: str, bootstrap: Mapping[str, Any]) -> Answer:
        """Start Envoy; it asks for its clusters and listeners at once."""
        if self._running():
            raise ValueError("Envoy runs already")
        self._xds.forget_envoy()
        os.ftruncate(self._log, 0)
        os.lseek(self._log, 0, os.SEEK_SET)
        # A port below 1024 is for everybody, as in Kubernetes; where this is read-only, Envoy says what it misses.
        with suppress(OSError), open(_UNPRIVILEGED_PORTS, "w") as ports:
            ports.write("0")
        with open(os.memfd_create("bootstrap"), "w") as file, open(binary, "rb") as program:
            json.dump(bootstrap, file)
            file.flush()
            envoy = binary if _is_reachable(binary) else f"/proc/self/fd/{program.fileno()}"
            options = ("--config-path", f"/dev/fd/{file.fileno()}", "--concurrency", str(_WORKERS))
            self._envoy = subprocess.Popen(
                [*_AS_ITS_USER, envoy, *options, "--disable-hot-restart", "--log-level", "warning"],
                pass_fds=[file.fileno(), program.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
        return {"pid": self._envoy.pid}

    def _op_envoy_configure(self, resources: Mapping[str, str], timeout: float) -> Answer:
        """Serve new resources, kind by kind (JSON text), and say of each whether Envoy accepted it.

        True, False, or None when it has ended or does not answer. Kinds that are as before are left out.
        """
        outcome: dict[str, bool | None] = {}
        for kind, text in resources.items():
            if self._xds.want({kind: text}):
                outcome[kind] = self._xds.wait(kind, self._running, timeout)
                if outcome[kind] is False:
                    break
        return {"accepted": outcome}

    def _op_envoy_loaded(self, timeout: float) -> Answer:
        """Wait until a new Envoy has accepted what there is."""
        kinds = ("clusters", "listeners")
        return {"accepted": {kind: self._xds.wait(kind, self._running, timeout) for kind in kinds}}

    def _op_envoy_status(self) -> Answer:
        """Return whether Envoy runs, how it ended (as ``Popen.returncode``), and what it has said."""
        running = self._running()
        said = os.pread(self._log, os.fstat(self._log).st_size, 0).decode(errors="replace")
        return {"running": running, "code": self._envoy.returncode if self._envoy else None, "log": said}

    def _op_redirect(self, family: int) -> Answer:
        """Lead the pod's TCP through Envoy."""
        redirect.install(family)
        return {}

    def _running(self) -> bool:
        return self._envoy is not None and self._envoy.poll() is None


def _is_reachable(path: str) -> bool:
    """Whether another user may go all the way to this file and execute it: not so below /root, for example."""
    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def main(name: str, control_fd: int, cgroup: str) -> NoReturn:
    """Be a pod with an Envoy."""
    run(ProxyAgent, name, control_fd, cgroup)

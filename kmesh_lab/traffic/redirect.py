"""The NAT rules that lead a pod's TCP through its sidecar: Istio's chains, in the pod's network namespace only.

What the pod connects to goes to Envoy's port 15001, what comes to the pod to 15006. Envoy's own connections are left
alone, which the kernel knows by the user that Envoy runs as; those to the pod's own address go to 15006, as they would
if they came from another pod (istio/istio, tools/istio-iptables).

Runs inside the pod's process. Standard library only.
"""

from __future__ import annotations

import errno
import os
import subprocess

__all__ = ["ENVOY_USER", "INBOUND_PORT", "INBOUND_SOURCE", "OUTBOUND_PORT", "install", "rules"]

ENVOY_USER = 1337
"""User and group of Istio's proxy."""

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
INBOUND_SOURCE = {4: "127.0.0.6", 6: "::6"}
"""The address that Envoy connects from when it hands on what came in: by this one the rules know it."""

_LOOPBACK = {4: "127.0.0.1/32", 6: "::1/128"}
_COMMANDS = {  # the two backends of iptables: either may be missing, in user space or in the kernel
    4: ("iptables-restore", "iptables-legacy-restore"),
    6: ("ip6tables-restore", "ip6tables-legacy-restore"),
}


def rules(family: int) -> str:
    """Return the nat table as ``iptables-restore`` reads it."""
    source, loopback = INBOUND_SOURCE[family], _LOOPBACK[family]
    return f"""\
*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {INBOUND_PORT}
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}
-A ISTIO_OUTPUT -s {source} -o lo -j RETURN
-A ISTIO_OUTPUT ! -d {loopback} -o lo -p tcp -m owner --uid-owner {ENVOY_USER} -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner {ENVOY_USER} -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner {ENVOY_USER} -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner {ENVOY_USER} -j RETURN
-A ISTIO_OUTPUT -d {loopback} -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
"""


def install(family: int) -> None:
    """Put the rules into the namespace that this process is in.

    ``OSError`` with what iptables said, when neither of its backends works.
    """
    if family == 6:  # IPv4 has all of 127.0.0.0/8 on the loopback interface, IPv6 one address
        _run(["ip", "-6", "address", "add", f"{INBOUND_SOURCE[6]}/128", "dev", "lo", "nodad"], "")
    said = []
    for command in _COMMANDS[family]:
        try:
            _run([command, "--noflush"], rules(family))
            return
        except OSError as error:
            said.append(error.strerror or str(error))
    raise OSError(errno.ENOSYS, "; ".join(said))


def _run(command: list[str], text: str) -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # a user's PATH may lack them
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=10, check=False, env={"PATH": path}
        )
    except FileNotFoundError:
        raise OSError(errno.ENOENT, f"there is no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, f"{command[0]} does not end") from None
    if done.returncode:
        raise OSError(errno.EIO, f"{command[0]}: {' '.join(done.stderr.split()) or f'status {done.returncode}'}")

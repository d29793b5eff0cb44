"""manage: what do connects and datagrams to the control addresses write to km_manage?"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from . import wire
from .bench import FAMILY, Bench, netns_cookie
from .wire import names

_KNOWN = names("id category note local_addresses default_route km_manage_before steps config")
_OPERATION = {"op", "family", "proto", "ip", "port", "bind"}
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Manage:
    """One process' share of a manage file."""

    def __init__(self, bench: Bench, vectors: Sequence[Mapping[str, Any]], trials: int | None) -> None:
        self.bench = bench
        self._namespaces: dict[str, int] = {}

    def begin(self) -> None:
        """Nothing to steer: nobody answers at a control address."""

    def replay(self, vector: Mapping[str, Any]) -> Iterator[str]:
        """The mismatches of one vector."""
        yield from wire.unknown_fields(vector, _KNOWN)
        with self.bench.inside(self._namespace(vector)):
            with socket.socket() as probe:
                self._cookie = netns_cookie(probe)
            self.bench.node.reset(vector.get("config", {}), self._rows(vector["km_manage_before"]))
            for number, step in enumerate(vector["steps"], 1):
                where = f"step {number} ({_words(step['op'])}): "
                yield from wire.unknown_fields(step, ("op", "result", "km_manage_after"), where)
                yield from wire.differences(step["result"], self._operate(step["op"]), where)
                after, found = self._rows(step["km_manage_after"]), self.bench.node.manage()
                if found != after:
                    yield f"{where}km_manage {wire.rows(found)}, recorded {wire.rows(after)}"
                    self.bench.node.set_manage(after)

    def _namespace(self, vector: Mapping[str, Any]) -> int:
        """One with these addresses on a wire at whose other end nobody is; with or without a default route."""
        setup = _setup(vector["local_addresses"], vector["default_route"])
        key = "\n".join(setup)
        if key not in self._namespaces:
            self._namespaces[key] = self.bench.new_netns(setup)
        return self._namespaces[key]

    def _rows(self, rows: list[dict[str, str]]) -> dict[bytes, bytes]:
        return {wire.filled(row["key_hex"], cookie=self._cookie): bytes.fromhex(row["value_hex"]) for row in rows}

    def _operate(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        if set(operation) - _OPERATION or operation["op"] not in ("connect", "sendto"):
            raise wire.Unknown(f"{dict(operation)}: this harness does not know the operation")
        node = self.bench.node
        node.forget()
        kind = wire.one_of(_KINDS, operation["proto"], "proto")
        with socket.socket(wire.one_of(FAMILY, operation["family"], "family"), kind) as sock:
            sock.setblocking(False)
            code = 0
            try:
                if operation["bind"]:
                    sock.bind((operation["bind"], 0))
                if operation["op"] == "connect":
                    sock.connect((operation["ip"], operation["port"]))
                else:
                    sock.sendto(b"x", (operation["ip"], operation["port"]))
            except OSError as error:
                code = error.errno or 0
            seen = node.seen()
            return {
                "errno": errno.errorcode[code] if code else None,
                "hook_runs": len(seen),
                "hook_target": seen[-1].place if seen else None,
                "storage_present": node.storage(sock) is not None,
            }


def _words(operation: Mapping[str, Any]) -> str:
    where = wire.text({"ip": operation["ip"], "port": operation["port"]})
    bound = f" from {operation['bind']}" if operation.get("bind") else ""
    return f"{operation['proto']} {operation['op']} {where}{bound}"


def _setup(addresses: Mapping[str, Any], default_route: bool) -> list[str]:
    lines = ["link set lo up", "link add wire type veth peer name end"]
    lines += ["link set wire arp off addrgenmode none up", "link set end arp off addrgenmode none up"]
    for ip in (*addresses["inet4"], *addresses["inet6"]):
        lines.append(f"address add {ip}{'/128 dev wire nodad' if ip_address(ip).version == 6 else '/32 dev wire'}")
    for ip in addresses["default_source"].values() if default_route else ():
        lines.append(f"route add {'::/0' if ip_address(ip).version == 6 else '0.0.0.0/0'} dev wire src {ip}")
    return lines

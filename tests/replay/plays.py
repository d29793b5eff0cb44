"""The scenarios, each a generator: it receives the words of a step, plays it, and yields what it saw.

What it yields has the names of the vectors' fields. Words that no rule matches are `Unknown`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
from collections.abc import Generator
from contextlib import suppress

from . import wire
from .bench import FAMILY, listen_on, patient
from .probe import Pair
from .stage import Found, Link, Stage

_SERVER = {"v4": ("inet4", "10.66.0.2"), "v6": ("inet6", "fd00:66::2"), "dual": ("inet6", "::")}
_libc = ctypes.CDLL(None, use_errno=True)

Play = Generator[Found, str, None]


def matched(words: str, pattern: str) -> re.Match[str]:
    """The words of a step, as a rule knows them."""
    match = re.fullmatch(pattern, words)
    if not match:
        raise wire.Unknown(f"step {words!r}: this harness does not know what to do")
    return match


def reconnect_after_refused(stage: Stage, words: str) -> Play:
    matched(words, "connect to service_with_waypoint, waypoint refuses")
    client = stage.client()
    stage.node.refuse(0)
    words = yield _refused(stage, client, stage.address("service_with_waypoint"))
    matched(words, r"same socket: connect to plain_server \(no frontend\), send hello, send world")
    stage.bench.listen()
    client.connect(stage.address("plain_server"))
    link = Link(stage, client, stage.accept())
    link.send(b"hello", b"world")
    yield link.found(sockhash_update_errors=stage.node.sockhash_errors())


def _refused(stage: Stage, client: socket.socket, where: tuple[str, int]) -> Found:
    code = client.connect_ex(where)
    return {
        "errno": errno.errorcode[code] if code else None,
        "storage": stage.storage(client),
        "tcp_probe_events": len(stage.node.probes()),
    }


def disconnect_and_reuse(stage: Stage, words: str) -> Play:
    sends = matched(words, "connect to service_with_waypoint(, send hello)?")[1]
    link = stage.connect(stage.address("service_with_waypoint"))
    link.send(b"hello" if sends else b"")
    words = yield link.found()
    to = matched(words, r"connect\(AF_UNSPEC\), then connect to (\w+), send again, send more")[1]
    stage.node.sockhash_errors()
    disconnect(link.client)
    link.client.connect(stage.address(to))
    again = Link(stage, link.client, stage.accept())
    again.send(b"again", b"more")
    yield again.found(sockhash_update_errors=stage.node.sockhash_errors())


def disconnect(sock: socket.socket) -> None:
    """connect(2) with AF_UNSPEC, which Python's socket does not offer."""
    if _libc.connect(sock.fileno(), bytes(16), 16):
        raise OSError(ctypes.get_errno(), "connect(AF_UNSPEC)")


def half_enrolled(stage: Stage, words: str) -> Play:
    matched(words, "connect to service_with_waypoint, send hello")
    stage.node.set_manage(stage.enrolled(**{_LACKS[stage.vector["kind"]]: False}))
    link = stage.connect(stage.address("service_with_waypoint"))
    link.send(b"hello")
    entries = len(stage.node.sockets())
    yield link.found(km_socket_entries=entries, tcp_probe_events=len(stage.node.probes()))


_LACKS = {"netns-managed-address-not": "address", "address-managed-netns-not": "netns"}


def refused_connect_is_not_reported(stage: Stage, words: str) -> Play:
    matched(words, "connect to a plain address nobody listens on")
    stage.node.refuse(0)
    yield _refused(stage, stage.client(), stage.address("plain_server"))


def managed_after_connect(stage: Stage, words: str) -> Play:
    matched(words, "connect to plain_server unmanaged; then netns and address become managed; send hello; close")
    stage.node.set_manage({})
    link = stage.connect(stage.address("plain_server"))
    stage.node.set_manage(stage.enrolled())
    yield _hello_and_close(stage, link)


def unmanaged_after_connect(stage: Stage, words: str) -> Play:
    matched(words, "connect to service_with_waypoint managed; then km_manage is emptied; send hello; close")
    link = stage.connect(stage.address("service_with_waypoint"))
    stage.node.set_manage({})
    yield _hello_and_close(stage, link)


def _hello_and_close(stage: Stage, link: Link) -> Found:
    link.send(b"hello")
    found = link.found()
    Pair(link.client, link.server).end("client")
    return found | {"tcp_probe_events": len(stage.node.probes())}


def fork(stage: Stage, words: str) -> Play:
    child = r"connect to service_with_waypoint; a forked child sends \"child\"; "
    matched(words, child + r"then the parent sends \"parent\"")
    link = stage.connect(stage.address("service_with_waypoint"))
    process = os.fork()
    if not process:
        with suppress(OSError):
            link.client.sendall(b"child")
        os._exit(0)
    os.waitpid(process, 0)
    link.send(b"parent")
    yield link.found()


def reply(stage: Stage, words: str) -> Play:
    matched(words, r"send hello, server replies \"reply\"")
    link = stage.connect(stage.address("service_with_waypoint"))
    link.send(b"hello")
    received = link.received()
    link.server.sendall(b"reply")
    yield {"client_received_hex": link.client.recv(64).hex(), "received_hex": received.hex()}


def control_by_one_family(stage: Stage, words: str) -> Play:
    stage.node.set_manage({})
    while True:
        match = matched(words, r"(control )?connect to (\S+):(\d+)(, send hello)?")
        where = (match[2], int(match[3]))
        family = socket.AF_INET6 if ":" in match[2] else socket.AF_INET
        link = stage.connect(where, family)
        if match[1]:
            words = yield {"km_manage": _listed(stage)}
            continue
        link.send(b"hello")
        words = yield link.found()


def _listed(stage: Stage) -> list[dict[str, str]]:
    """km_manage as the vectors list it, in an order of its own."""
    cookie = stage.bench.cookie.to_bytes(8, "little").hex()
    rows = [(key.hex().replace(cookie, wire.COOKIE), value.hex()) for key, value in stage.node.manage().items()]
    return [{"key_hex": key, "value_hex": value} for key, value in sorted(rows)]


def probe_skip(stage: Stage, words: str) -> Play:
    matched(words, "connect, close")
    variable, mode = stage.vector["variable"], stage.vector["mode"]
    stage.node.refuse(0)
    switch: Found = {variable["name"]: bytes.fromhex(variable["value_hex"])}
    stage.node.configure(**switch)
    family, bind = _SERVER[mode]
    target = _SERVER["v4"][1] if mode == "dual" else bind
    stage.node.set_manage(stage.enrolled() | {wire.packed(target): bytes(4)})
    server = stage.keep(listen_on(socket.socket(FAMILY[family]), bind, 0))
    client = stage.client(family=FAMILY["inet6" if mode == "v6" else "inet4"])
    client.connect((target, server.getsockname()[1]))
    accepted, _ = server.accept()
    patient(accepted)
    Pair(client, accepted).end("client")
    inbound = [event for event in stage.node.probes() if event["direction"] == wire.INBOUND]
    yield {"inbound_tcp_probe_events": len(inbound), "auth_req_events": len(stage.node.auths())}

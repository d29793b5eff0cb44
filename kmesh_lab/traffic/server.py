"""What the pods of the shop serve: a small HTTP/1.1 server that knows the stock, and an echo for everything else.

On a TCP port the first bytes of a connection decide. A request is answered, ``GET /stock/42`` for example by
``inventory-a: item 42: 7 in stock``, and the connection is kept for the next one. All else comes back as it is, behind
the name of the pod; so does each UDP datagram. A pod that calls another service has no stock of its own: it asks there,
and puts its name in front of the answer. Runs inside the pod's process. Standard library only.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from kmesh_lab.traffic import relay
from kmesh_lab.traffic.sockets import Peer

__all__ = ["StreamHandler", "response", "run_streams", "serve"]

StreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

Page = tuple[HTTPStatus, str]
"""Status and text of an answer."""

_METHODS = tuple(f"{method} ".encode() for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_NUMBER = re.compile("[0-9]{1,15}")
_VERSION = re.compile(r"(HTTP/1\.[01])?")
_HEAD_LIMIT = 64 * 1024
_CHUNK = 64 * 1024

_SILENCE = 0.2
"""Seconds that end a request without an end of line, as one types it into a cell: ``send(b"GET /stock/42")``."""


def serve(sockets: list[socket.socket], name: str, calls: Peer | None = None) -> None:
    """Serve on sockets that are bound (UDP) or listening (TCP), and call a service if one is given; never returns."""
    if sockets[0].type == socket.SOCK_DGRAM:
        asyncio.run(_run_datagrams(sockets, name))
    else:
        asyncio.run(run_streams(sockets, lambda reader, writer: _Conversation(name, reader, writer, calls).run()))


async def run_streams(sockets: list[socket.socket], handler: StreamHandler) -> None:
    """Run the handler for every connection and close the connection after it; never returns."""
    # While a client that has closed its half waits for an answer, the event loop no longer holds its connection, and
    # a stream's protocol knows its reader weakly: without this set the garbage collector would end the handler.
    handling: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(task := asyncio.current_task())
        try:
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except OSError:
            pass  # the client reset the connection, or its network is gone: there is nobody left to tell
        finally:
            writer.transport.abort()  # no effect once it is closed
            handling.discard(task)

    servers = [await asyncio.start_server(handle, sock=sock, backlog=1024) for sock in sockets]
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _run_datagrams(sockets: list[socket.socket], name: str) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
            self.transport.sendto(_prefix(name) + data, addr)

    loop = asyncio.get_running_loop()
    for sock in sockets:
        await loop.create_datagram_endpoint(Echo, sock=sock)
    await asyncio.Event().wait()


def _prefix(name: str) -> bytes:
    return f"{name}: ".encode()


class _Conversation:
    """One TCP connection, from its first bytes to its end."""

    def __init__(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, calls: Peer | None
    ) -> None:
        self._calls = calls
        self._name = name
        self._reader = reader
        self._writer = writer
        self._data = b""

    async def run(self) -> None:
        """Answer requests, or echo."""
        if not await self._begins_as_request():
            await self._echo()
            return
        keep = True
        while keep and (head := await self._take_head()):
            answer, body_length, keep = response(self._name, head, await self._asked(head))
            self._writer.write(answer)
            await self._writer.drain()
            keep = keep and await self._skip(body_length)

    async def _asked(self, head: bytes) -> Page | None:
        """What the service that this pod calls has to say, if it calls one and this is a question for it."""
        path = [*head.decode("latin-1").split(), "", ""][1]
        if self._calls is None or not path.startswith("/stock/"):
            return None
        return await relay.ask(self._calls, path)

    async def _begins_as_request(self) -> bool:
        while not self._data.startswith(_METHODS):
            may_become_one = any(method.startswith(self._data) for method in _METHODS)
            if not may_become_one or not await self._receive(_SILENCE if self._data else None):
                return False
        return True

    async def _echo(self) -> None:
        reply = _prefix(self._name) + self._data
        while self._data:
            self._writer.write(reply)
            await self._writer.drain()
            self._data = reply = await self._reader.read(_CHUNK)

    async def _take_head(self) -> bytes:
        """Return the next request without its body, or no bytes at the end of the stream."""
        while not (end := _head_end(self._data)) and len(self._data) <= _HEAD_LIMIT:
            typed = self._data and b"\n" not in self._data and b" HTTP/" not in self._data
            if not await self._receive(_SILENCE if typed else None):
                break
            self._data = self._data.lstrip(b"\r\n")  # RFC 9112, 2.2: empty lines before a request mean nothing
        end = end or len(self._data)
        head, self._data = self._data[:end], self._data[end:]
        return head

    async def _skip(self, length: int) -> bool:
        """Drop so many bytes, and tell whether there were that many."""
        while length > len(self._data):
            length -= len(self._data)
            self._data = b""
            if not await self._receive():
                return False
        self._data = self._data[length:]
        return True

    async def _receive(self, patience: float | None = None) -> bool:
        """Wait for more bytes; False at the end of the stream, or when patience (seconds) is at its end."""
        try:
            async with asyncio.timeout(patience):
                more = await self._reader.read(_CHUNK)
        except TimeoutError:
            return False
        self._data += more
        return bool(more)


def _head_end(data: bytes) -> int:
    """Return the length of the request head at the start, 0 while it is incomplete."""
    line, newline, _ = data.partition(b"\n")
    if b" HTTP/" not in line:  # a bare line
        return len(line) + 1 if newline else 0
    end = _HEAD_END.search(data)
    return end.end() if end else 0


def response(name: str, head: bytes, asked: Page | None = None) -> tuple[bytes, int, bool]:
    """Return the answer to a request, how long a body follows its head, and whether to keep the connection.

    ``asked`` is what another service has answered to it.
    """
    line, *fields = head.decode("latin-1").splitlines()
    headers = {key.strip().lower(): value.strip() for key, _, value in (field.partition(":") for field in fields)}
    method, path, version = [*line.split(), "", "", ""][:3]
    length = headers.get("content-length", "0")
    status, text = HTTPStatus.OK, ""
    if len(head) > _HEAD_LIMIT:
        status, text = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the request head exceeds {_HEAD_LIMIT} bytes"
    elif not (f"{method} ".encode("latin-1") in _METHODS and path.startswith("/") and _VERSION.fullmatch(version)):
        status, text = HTTPStatus.BAD_REQUEST, f"not a request: {line[:80]!r}; try 'GET /stock/42'"
    elif "transfer-encoding" in headers or not _NUMBER.fullmatch(length):
        status, text = HTTPStatus.LENGTH_REQUIRED, "a body needs its content-length"
    keep = status == HTTPStatus.OK and version != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
    if not text:
        status, text = asked or _page(path)
    body = f"{name}: {text}\n".encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "content-type: text/plain; charset=utf-8",
        f"content-length: {len(body)}",
        *([] if keep else ["connection: close"]),
    ]
    answer = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
    return answer + (b"" if method == "HEAD" else body), int(length) if keep else 0, keep


def _page(path: str) -> Page:
    if path == "/":
        return HTTPStatus.OK, "ask for /stock/42"
    item = path.removeprefix("/stock/")
    if item == path or not _NUMBER.fullmatch(item):
        return HTTPStatus.NOT_FOUND, f"nothing at {path}; ask for /stock/42"
    return HTTPStatus.OK, f"item {item}: {int(item) * 7 % 41} in stock"

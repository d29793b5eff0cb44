"""A pod that has to ask another service before it can answer: one HTTP request, on a connection of its own.

So each request that comes in makes one connect(2) in this pod, which the kernel or a sidecar leads somewhere. Runs
inside the pod's process. Standard library only.
"""

from __future__ import annotations

import asyncio
import errno
from http import HTTPStatus

from kmesh_lab.traffic.sockets import Peer

__all__ = ["ask"]

_SECONDS = 5.0


async def ask(upstream: Peer, path: str) -> tuple[HTTPStatus, str]:
    """Ask with GET; the status and the text of the answer, or 502 and why there is none."""
    address, port = upstream
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    try:
        async with asyncio.timeout(_SECONDS):
            request = f"GET {path} HTTP/1.1\r\nhost: {where}\r\nconnection: close\r\n\r\n"
            head, body = await _exchange(address, port, request)
        return HTTPStatus(int(head.split()[1])), body.decode(errors="replace").rstrip("\n")
    except TimeoutError:
        return HTTPStatus.GATEWAY_TIMEOUT, f"no answer from {where} in {_SECONDS:.0f} seconds"
    except OSError as error:
        return HTTPStatus.BAD_GATEWAY, f"{where}: {error.strerror or error}"
    except (IndexError, ValueError):
        return HTTPStatus.BAD_GATEWAY, f"{where} does not speak HTTP"


async def _exchange(address: str, port: int, request: str) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(request.encode())
        data = await reader.read(-1)
        if not data:
            raise OSError(errno.ECONNRESET, "the connection was closed without an answer")
        head, _, body = data.partition(b"\r\n\r\n")
        return head, body
    finally:
        writer.close()

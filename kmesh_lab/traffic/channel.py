"""The channel between the process of a pod and its owner: JSON messages and descriptors over a SOCK_SEQPACKET socket.

One message is one packet, so neither side ever sees half of one. Standard library only, because both sides use it and
one of them has no site-packages.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["Message", "allow_descriptors", "close_all", "pair", "receive", "send"]

Message = dict[str, Any]

_INLINE = 64 * 1024
"""The longest message in one packet; a longer one (the log of 100,000 connects) travels in a memory file."""

_MAX_DESCRIPTORS = 4
_DESCRIPTOR = struct.Struct("i")


def pair() -> tuple[socket.socket, socket.socket]:
    """Make both ends of a channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send one message; the descriptors stay open here.

    ``OSError`` when the other end is gone.
    """
    data = json.dumps(message, separators=(",", ":"), default=str).encode()  # str: addresses are ipaddress objects
    if len(data) <= _INLINE:
        socket.send_fds(channel, [data], descriptors)
        return
    with open(os.memfd_create("message"), "wb") as file:
        file.write(data)
        file.flush()
        # An empty object announces the file, which is the last descriptor.
        socket.send_fds(channel, [b"{}"], [*descriptors, file.fileno()])


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """Wait for one message and the descriptors that came with it; None when the other end is gone.

    The descriptors belong to the caller and are close-on-exec. ``TimeoutError`` as the socket's timeout says.
    """
    try:
        # Python 3.11's socket.recv_fds drops its flags, and without this one every child would inherit the descriptors.
        space = socket.CMSG_LEN(_MAX_DESCRIPTORS * _DESCRIPTOR.size)
        data, ancillary, _, _ = channel.recvmsg(_INLINE, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:  # the other end closed with a message of ours unread
        return None
    if not data:
        return None
    descriptors = [number for _, _, numbers in ancillary for (number,) in _DESCRIPTOR.iter_unpack(numbers)]
    if data == b"{}":
        with open(descriptors.pop(), "rb") as file:
            file.seek(0)  # the offset is shared with the writer
            data = file.read()
    message: Message = json.loads(data)
    return message, descriptors


def allow_descriptors() -> None:
    """Raise this process's soft limit of descriptors to the hard one: a node of a lab takes more than 30.

    Many servers have a soft limit of 1024, for the sake of programs that use select(2).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that nobody will use."""
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)

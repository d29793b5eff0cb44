"""The owner's side of a pod: start its process, ask it for things, end it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from kmesh_lab.errors import LabError, PodGone
from kmesh_lab.kernel.cgroup import forget_in_forked_child
from kmesh_lab.traffic import channel
from kmesh_lab.traffic.channel import Message

__all__ = ["PodProcess", "Reply", "Script"]

_LAUNCH = Path(__file__).resolve().parent / "launch.py"

Script = Literal["agent", "proxy", "waypoint"]

_SECONDS_TO_END = 0.3


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request: values by name, and the descriptors that came along, which are the caller's to close."""

    values: Message
    descriptors: tuple[int, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def socket(self) -> socket.socket:
        """Return the socket that the pod made, now the caller's."""
        (descriptor,) = self.descriptors
        return socket.socket(fileno=descriptor)


class PodProcess:
    """The process of a pod, which is in its own network namespace and in the cgroup of its node.

    ``script`` is "agent", "proxy" (with an Envoy) or "waypoint". To start several at once, `start` them all and then
    `wait_ready` for each. As a context manager it is started, waited for and closed. Any thread may use it; requests
    are answered in turn.

    >>> with PodProcess("shop", "/sys/fs/cgroup/n1") as shop:
    ...     shop.request("connect", address="10.96.0.10", port=80).socket().send(b"GET /stock/42")
    13
    """

    def __init__(self, name: str, cgroup_path: str | Path, script: Script = "agent") -> None:
        self.name = name
        self._cgroup_path = os.path.abspath(cgroup_path)
        self._script = script
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._netns_fd = -1
        self._stderr_fd = -1
        self._lock = threading.Lock()
        self._requests = 0
        self._closed = False

    @property
    def pid(self) -> int:
        """The process; not reused by another one before `close`."""
        return self._started.pid

    @property
    def cgroup(self) -> Path:
        """The directory of the cgroup that the process is in."""
        return Path(self._cgroup_path)

    @property
    def netns_fd(self) -> int:
        """The network namespace of the pod; `close` closes it."""
        if self._netns_fd < 0:
            raise LabError(f"pod {self.name!r} has no network namespace: it is not ready yet, or closed")
        return self._netns_fd

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return not self._closed and self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the process without waiting for it."""
        if self._process is not None:
            raise LabError(f"pod {self.name!r} has been started already")
        forget_in_forked_child(self)
        self._control, theirs = channel.pair()
        self._stderr_fd = os.memfd_create("stderr")
        with theirs:
            command = [sys.executable, "-I", "-S", str(_LAUNCH)]  # the standard library only: it starts faster
            try:
                self._process = subprocess.Popen(
                    [*command, self._script, self.name, str(theirs.fileno()), self._cgroup_path],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr_fd,
                    cwd="/",  # bcc changes the current directory while it compiles
                    start_new_session=True,  # the terminal's Ctrl-C is for the notebook
                )
            except BaseException:
                self._release()
                raise
        return self

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until the process is in its cgroup and in its network namespace.

        ``OSError`` says why it could not enter them; the pod is closed then.
        """
        try:
            with self._lock:
                self._wait_ready(timeout)
        except OSError:
            self.close()
            raise

    def request(self, op: str, **fields: Any) -> Reply:
        """Have the process do one thing (`agent`, `proxy`, `waypoint`), and wait for the answer.

        ``OSError`` with the errno of what failed inside the pod; `PodGone` when the process has ended.
        """
        with self._lock:
            self._wait_ready(timeout=10.0)
            self._requests += 1
            with suppress(ConnectionError):  # the end of the process; receive finds it too
                channel.send(self._channel, {**fields, "id": self._requests, "op": op})
            values, descriptors = self._receive()
            while values.pop("id", None) != self._requests:  # the answer to a request that Ctrl-C interrupted
                channel.close_all(descriptors)
                values, descriptors = self._receive()
        if "errno" in values:
            channel.close_all(descriptors)
            raise OSError(values["errno"], f"pod {self.name!r}: {values['text']}")
        return Reply(values, tuple(descriptors))

    def close(self) -> None:
        """End the process and everything it serves: ask, wait a moment, kill; nothing is left of it."""
        if self._process is None or self._stderr_fd < 0:
            return
        self._closed = True
        try:
            with suppress(OSError, PodGone):
                self._channel.shutdown(socket.SHUT_RDWR)  # the question; it also ends a request of another thread
            _wait_for_end(self._process.pid, _SECONDS_TO_END)
        finally:  # also when Ctrl-C ends the waiting
            self._process.kill()  # without effect on one that has ended
            self._process.wait()
            with self._lock:
                self._release()

    def forget(self) -> None:
        """Close the descriptors and nothing else: answers to a forked child would be missing at the owner."""
        self._closed = True
        self._release()

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.alive and self._process else "ended" if self._process else "not started"
        return f"<PodProcess {self.name} {state}>"

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LabError(f"pod {self.name!r} has not been started: call start()")
        return self._process

    @property
    def _channel(self) -> socket.socket:
        if self._control is None:
            raise self._gone()
        return self._control

    def _wait_ready(self, timeout: float) -> None:
        if self._netns_fd >= 0:
            return
        self._channel.settimeout(timeout)
        try:
            values, descriptors = self._receive()
        except TimeoutError:
            raise TimeoutError(f"pod {self.name!r} was not ready within {timeout} seconds") from None
        self._channel.settimeout(None)
        if "errno" in values:
            raise OSError(values["errno"], f"pod {self.name!r}: {values['text']}")
        (self._netns_fd,) = descriptors

    def _receive(self) -> tuple[Message, list[int]]:
        received = channel.receive(self._channel)
        if received is None:
            raise self._gone()
        return received

    def _gone(self) -> PodGone:
        process = self._started
        if self._closed:
            return PodGone(f"pod {self.name!r} is closed; make it again")
        try:
            code = process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            how = "it does not answer"
        else:
            how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
            last_words = os.pread(self._stderr_fd, os.fstat(self._stderr_fd).st_size, 0).decode(errors="replace")
            how += "".join(f": {line}" for line in last_words.strip().splitlines()[-1:])
        return PodGone(f"the process of pod {self.name!r} has ended ({how}); delete the pod and make it again")

    def _release(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        for descriptor in (self._netns_fd, self._stderr_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._netns_fd = self._stderr_fd = -1


def _wait_for_end(pid: int, seconds: float) -> None:
    """Wait for the end of a child, exactly: `Popen.wait` with a timeout looks again only every few milliseconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # reaped already
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(seconds * 1000)
    finally:
        os.close(descriptor)

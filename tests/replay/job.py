"""One process per job: some vectors of one kind, against one build. It dies with its parent."""

from __future__ import annotations

import ctypes
import resource
import signal
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from kmesh_lab.errors import LabError

from . import wire
from .bench import Bench
from .connect import Connect
from .dns import Dns
from .manage import Manage
from .node import Build, Node
from .periodic import Periodic
from .probe import Probe
from .scenarios import Scenarios
from .tlv import Tlv

_PR_SET_PDEATHSIG = 1


class Replayer(Protocol):
    """What replays one kind of vector: made outside the cgroup, begun inside it."""

    def __init__(self, bench: Bench, vectors: Sequence[Mapping[str, Any]], trials: int | None) -> None: ...

    def begin(self) -> None:
        """Called once, when the programs are attached and the process is in the cgroup."""

    def replay(self, vector: Mapping[str, Any]) -> Iterator[str]:
        """The mismatches of one vector."""


REPLAYERS: dict[str, type[Replayer]] = {
    "connect": Connect,
    "tlv": Tlv,
    "probe": Probe,
    "periodic": Periodic,
    "manage": Manage,
    "dns": Dns,
    "scenarios": Scenarios,
}


@dataclass(frozen=True)
class Job:
    """What one process does."""

    kind: str
    build: Build
    vectors: Sequence[Mapping[str, Any]]
    trials: int | None = None
    fail_fast: bool = False


@dataclass(frozen=True)
class Result:
    """What became of one vector: ``lines`` are the mismatches, or the reason why it was not staged."""

    id: str
    toolchain: str
    lines: tuple[str, ...]
    staged: bool = True


def run(job: Job, cgroup: Path, answers: Connection) -> None:
    """The life of the process: each vector is answered by a `Result`; a string says why the harness itself failed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for result in _results(job, cgroup):
            answers.send(result)
            if job.fail_fast and result.staged and result.lines:
                break
    except (LabError, OSError) as error:
        answers.send(str(error))
    except Exception:
        answers.send(traceback.format_exc())


def _results(job: Job, cgroup: Path) -> Iterator[Result]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a scenario fills km_socket
    bench = Bench()
    try:
        replayer: Replayer | Exception = REPLAYERS[job.kind](bench, job.vectors, job.trials)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a vector of another shape
        replayer = error
    bench.node = Node(job.build, cgroup)
    bench.join(cgroup)
    if not isinstance(replayer, Exception):
        replayer.begin()
    for vector in job.vectors:
        yield _one(job, replayer, vector)
    bench.close()


def _one(job: Job, replayer: Replayer | Exception, vector: Mapping[str, Any]) -> Result:
    name, toolchain = str(vector.get("id", "(a vector without id)")), job.build.toolchain
    lines: list[str] = []
    try:
        if isinstance(replayer, Exception):
            raise replayer
        for line in replayer.replay(vector):
            lines.append(line)
    except wire.NotStaged as reason:
        return Result(name, toolchain, (str(reason),), staged=False)
    except Exception as error:
        lines.append(wire.described(error))
    return Result(name, toolchain, tuple(lines))

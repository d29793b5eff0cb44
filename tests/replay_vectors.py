"""Replays recorded behaviour of the real Kmesh programs against ours: ``python tests/replay_vectors.py FILE...``

Prints one line for each mismatch and ``N passed, M failed`` last. Exit status: 0 without failures, 1 with some, 2 if
the programs could not be built, loaded or attached. Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path

from replay import periodic
from replay.job import REPLAYERS, Job, Result, run
from replay.node import Build

from kmesh_lab.errors import LabError
from kmesh_lab.kernel.cgroup import LabCgroup, remove_abandoned
from kmesh_lab.kernel.compiler import BPF_DIR

SILENCE = 120.0  # seconds without an answer from a job; the longest vectors take 15
TOOLCHAINS = ("bcc", "clang")
STATUS_TERMINATED, STATUS_INTERRUPTED = 143, 130


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="vectors: {'meta': …, 'vectors': […]}")
    parser.add_argument(
        "--toolchain", choices=(*TOOLCHAINS, "both"), help="default: connect by both, the others by bcc"
    )
    parser.add_argument("--trials", type=int, metavar="N", help="connects per vector; default: as many as recorded")
    parser.add_argument("--only", action="append", metavar="ID", help="only this vector; may be repeated, may hold *")
    parser.add_argument("--fail-fast", action="store_true", help="stop each job at its first mismatch")
    parser.add_argument("--no-trace", action="store_true", help="bcc without the decision trace, as benchmarks load it")
    parser.add_argument("--bpf", type=Path, default=BPF_DIR, metavar="DIR", help="another copy of bpf/")
    return parser.parse_args(words)


class Failed(Exception):
    """The harness itself did not work, so nothing is known about the programs."""


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(STATUS_TERMINATED))
    passed = failed = 0
    try:
        with tempfile.TemporaryDirectory(prefix="kmesh-lab-") as folder:
            for result in replay(options, Path(folder)):
                head = f"{result.id} [{result.toolchain}]" if result.staged else f"{result.id}: not staged"
                for line in result.lines:
                    print(f"{head}: {line}", flush=True)
                passed += result.staged and not result.lines
                failed += result.staged and bool(result.lines)
    except (LabError, Failed, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return STATUS_INTERRUPTED
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


@dataclass
class Running:
    """A job and the process that does it."""

    job: Job
    process: ForkProcess
    answers: Connection


def replay(options: argparse.Namespace, folder: Path) -> Iterator[Result]:
    """All results in the order of the files; the jobs run at the same time."""
    jobs = [job for file in options.files for job in plan(file, options, folder) if job.vectors]
    if options.only and not jobs:
        raise Failed(f"no vector is called {' or '.join(options.only)}")
    for build in {job.build for job in jobs}:
        build.compile()
    remove_abandoned()  # what an earlier run left that was killed with -9
    with LabCgroup.create() as cgroup:
        running: list[Running] = []
        try:
            for number, job in enumerate(jobs):
                running.append(start(job, cgroup.child(f"job{number}")))
            for one in running:
                yield from results(one)
        finally:
            for one in running:
                one.process.kill()
            for one in running:
                one.process.join()


def plan(file: Path, options: argparse.Namespace, folder: Path) -> Iterator[Job]:
    """The jobs of one file."""
    try:
        data = json.loads(file.read_text())
        kind, vectors = data["meta"]["name"], data["vectors"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"{file} holds no vectors: {error!r}") from None
    if kind not in REPLAYERS:
        raise Failed(f"{file}: unknown kind of vectors {kind!r}; known are {', '.join(REPLAYERS)}")
    if options.only:
        vectors = [vector for vector in vectors if any(fnmatch(vector.get("id", ""), name) for name in options.only)]
    default = TOOLCHAINS if kind == "connect" else TOOLCHAINS[:1]
    for toolchain in {None: default, "both": TOOLCHAINS}.get(options.toolchain, (options.toolchain,)):
        # bcc builds what the lab loads, with the decision trace, and clang the plain programs, as Kmesh does. Scenarios
        # look at the trace to see what the kernel answered.
        trace = (toolchain == "bcc" and not options.no_trace) or kind == "scenarios"
        build = Build(toolchain, options.bpf.resolve(), trace, folder / ("trace" if trace else "plain"))
        for share in periodic.shares(vectors) if kind == "periodic" else [vectors]:
            yield Job(kind, build, share, options.trials, options.fail_fast)


def start(job: Job, cgroup: Path) -> Running:
    context: ForkContext = multiprocessing.get_context("fork")
    answers, theirs = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(job, cgroup, theirs), daemon=True)
    process.start()
    theirs.close()
    return Running(job, process, answers)


def results(one: Running) -> Iterator[Result]:
    """What the process answers until it ends; it must have answered every vector."""
    name = f"{one.job.kind} [{one.job.build.toolchain}]"
    count, failures = 0, 0
    while True:
        if not one.answers.poll(SILENCE):
            raise Failed(f"{name}: no answer for {SILENCE:.0f} s after {count} of {len(one.job.vectors)} vectors")
        try:
            answer = one.answers.recv()
        except EOFError:
            break
        if isinstance(answer, str):
            raise Failed(f"{name}: {answer}")
        yield answer
        count += 1
        failures += answer.staged and bool(answer.lines)
    one.process.join()
    stopped_early = one.job.fail_fast and failures
    if one.process.exitcode or (count < len(one.job.vectors) and not stopped_early):
        raise Failed(f"{name}: the process ended with status {one.process.exitcode} after {count} vectors")


if __name__ == "__main__":
    sys.exit(main())

"""Tests in processes of their own: one for each build of the programs, and whatever a test does ends with its process.

A learner's test may hang, end its process or leave a lab behind. So each build is tried in a forked child, which has
the test functions with all that they refer to; it says by a pipe what it is doing, and it is killed when it has not
said anything for too long. Its lab goes with it. It does not outlive the process that asked, however that ends.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from kmesh_lab.errors import LabError
from kmesh_lab.kernel.compiler import Image
from kmesh_lab.testing.stage import STAGES, Test

__all__ = ["Job", "Outcome", "Ran", "run_jobs"]

Outcome = Literal["passed", "failed", "hung", "died", "not run"]

TEST_SECONDS = 10.0
_STAGE_SECONDS = 60.0  # to make the pods, on a machine that is busy
_PR_SET_PDEATHSIG = 1
_FORK = multiprocessing.get_context("fork")
_PACKAGE = __file__.rpartition("/testing/")[0]


@dataclass(frozen=True)
class Ran:
    """How one test fared; ``text`` says what was wrong."""

    test: str
    outcome: Outcome
    text: str = ""


@dataclass(frozen=True)
class Job:
    """Tests to run, in this order, on one build of the programs, until one does not pass if ``fail_fast``."""

    name: str
    image: Image
    subject: str
    tests: Sequence[tuple[str, Test]]
    fail_fast: bool = False


def run_jobs(jobs: Sequence[Job], at_once: int) -> Iterator[tuple[Job, list[Ran]]]:
    """Run the jobs, so many at a time; yields each when it is done."""
    waiting, running = deque(jobs), list[_Child]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_Child(waiting.popleft()))
            soonest = min(child.deadline for child in running) - time.monotonic()
            wait([child.pipe for child in running], timeout=max(0.0, soonest))
            for child in [child for child in running if child.proceed()]:
                running.remove(child)
                yield child.job, child.results()
    finally:
        for child in running:
            child.kill()


class _Child:
    """A process that does one job, seen from outside."""

    def __init__(self, job: Job) -> None:
        self.job, self._ran, self._at = job, list[Ran](), ""  # "": it is making the pods
        self.pipe, theirs = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(target=_work, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.deadline = time.monotonic() + _STAGE_SECONDS

    def proceed(self) -> bool:
        """Take in what it has said; True when there is nothing more to come."""
        try:
            while self.pipe.poll():
                said: str | Ran | LabError | None = self.pipe.recv()
                if isinstance(said, LabError):
                    raise said
                self.deadline = time.monotonic() + TEST_SECONDS
                if said is None:
                    self._process.join()
                    self.pipe.close()
                    return True
                if isinstance(said, Ran):
                    self._ran.append(said)
                else:
                    self._at = said
        except (EOFError, OSError):
            return self._end("died", "the process of the test ended")
        if time.monotonic() < self.deadline:
            return False
        return self._end("hung", f"stopped after {TEST_SECONDS if self._at else _STAGE_SECONDS:g} s")

    def _end(self, outcome: Outcome, text: str) -> bool:
        self.kill()
        if not self._at:
            raise LabError(f"the pods for the tests were not made: {text}; `kmesh-lab check` says what is missing")
        self._ran.append(Ran(self._at, outcome, text))
        return True

    def results(self) -> list[Ran]:
        """One result for each test, in their order; those after a test that did not end were not run."""
        ran = {each.test: each for each in self._ran}
        return [ran.get(name, Ran(name, "not run")) for name, _ in self.job.tests]

    def kill(self) -> None:
        """End it; a second time, do nothing."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _work(job: Job, pipe: Connection) -> None:
    """The life of the child."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), ExitStack() as stack:
        try:
            stage = stack.enter_context(STAGES[job.subject](job.image))
        except LabError as error:
            pipe.send(LabError(f"the pods for the tests were not made: {error}"))
            return
        for name, test in job.tests:
            pipe.send(name)
            ran = _try(name, lambda test=test: stage.run(test))  # type: ignore[misc]
            pipe.send(ran)
            if job.fail_fast and ran.outcome != "passed":
                break
    pipe.send(None)


def _try(name: str, test: Callable[[], Any]) -> Ran:
    try:
        test()
    except (Exception, SystemExit) as error:
        return Ran(name, "failed", _told(error))
    return Ran(name, "passed")


def _told(error: BaseException) -> str:
    """``AssertionError (line 3: assert c.peer == …)``: the line is the last one in the learner's code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_PACKAGE)]
    what = f"{type(error).__name__}{f': {error}' if str(error) else ''}"
    if not frames:
        return what
    return f"{what} (line {frames[-1].lineno}{f': {frames[-1].line}' if frames[-1].line else ''})"

"""Mutants: mistakes planted in our C, each of which the vectors must notice. ``python tests/mutants.py [NAME...]``

A mutant is a copy of bpf/ with one text replaced. It is killed when a vector of the named files in tests/data/vectors
shows a mismatch; a copy that does not compile or load, or lacks the text, is an error. Exit status 0: all are killed.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import replay_vectors
from mutant_list import MUTANTS

from kmesh_lab.errors import LabError
from kmesh_lab.kernel.compiler import BPF_DIR
from kmesh_lab.testing.mutants import Mutant

VECTORS = Path(__file__).with_name("data") / "vectors"


@dataclass(frozen=True)
class Verdict:
    """How a mutant fared; ``error`` when the experiment itself failed."""

    mutant: Mutant
    killer: str = ""
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"ERROR     {self.mutant.name}: {self.error}"
        return f"killed    {self.mutant.name}: {self.killer}" if self.killer else f"SURVIVED  {self.mutant.name}"


def replay(bpf: Path, kinds: str) -> tuple[int, list[str]]:
    """Exit status and printed lines of a replay with the programs in ``bpf``."""
    files = [str(VECTORS / f"{kind}.json") for kind in kinds.split()]
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        # Untraced, which halves the time to compile: no vector looks at the trace.
        status = replay_vectors.main(["--toolchain", "bcc", "--no-trace", "--fail-fast", "--bpf", str(bpf), *files])
    return status, printed.getvalue().splitlines()


def judge(mutant: Mutant) -> Verdict:
    """Plant the mistake in a copy, and see whether a vector notices."""
    with tempfile.TemporaryDirectory(prefix="kmesh-lab-") as folder:
        bpf = Path(folder) / "bpf"
        shutil.copytree(BPF_DIR, bpf)
        file = bpf / mutant.file
        try:
            file.write_text(mutant.plant(file.read_text()))
        except LabError as error:
            return Verdict(mutant, error=str(error))
        status, lines = replay(bpf, mutant.killers)
    if status not in (0, 1) or not lines:
        return Verdict(mutant, error=" ".join(lines) or f"exit status {status}")
    return Verdict(mutant, killer=lines[0][:160] if status == 1 else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only mutants whose name holds this")
    wanted = parser.parse_args().names
    mutants = [mutant for mutant in MUTANTS if not wanted or any(name in mutant.name for name in wanted)]
    if not mutants:
        parser.error(f"no mutant is called {' or '.join(wanted)}")
    mutants.sort(key=lambda mutant: mutant.killers != "periodic")  # they mostly wait, so they begin
    with ProcessPoolExecutor((os.cpu_count() or 1) + 2, multiprocessing.get_context("fork")) as pool:
        healthy = pool.submit(replay, BPF_DIR, " ".join(sorted({mutant.killers for mutant in mutants})))
        verdicts = list(pool.map(judge, mutants))
        status, lines = healthy.result()
    print(*verdicts, sep="\n")
    if status:
        print("without a mutant the vectors must pass:", *lines, sep="\n")
        return 1
    killed = sum(bool(verdict.killer) for verdict in verdicts)
    print(f"{killed} of {len(verdicts)} mutants killed")
    return 0 if killed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Run benchmarks and print one table: `python -m benchmarks [NAME...] [--json FILE]`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path

from benchmarks import CHROMIUM
from benchmarks.report import Figure, machine, table

NAMES = (
    "load",
    "lab",
    "publish",
    "connect",
    "events",
    "many",
    "paths",
    "widgets",
    "envoy",
    "stream",
    "testing",
)  # modules of this package, each with a function `figures()`

IN_A_BROWSER = ("widgets", "stream")

_NICE = -10  # before the rest of the machine, so that the figures are about us


def without_browser() -> str:
    """What the benchmarks of live views miss on this machine, and what to do about it; "" if nothing."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed; `make .venv/dev.stamp` installs it"
    if not Path(CHROMIUM).is_file():
        return f"there is no Chromium at {CHROMIUM}; `make apt-test` installs Debian's"
    return ""


def main() -> int:
    """0, unless a benchmark could not be run: a figure that misses its target only says so in the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The figures of benchmarks/README.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}; all unless given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to a file, too")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in NAMES]:
        parser.error(f"no benchmark {unknown[0]!r}: choose from {', '.join(NAMES)}")
    if os.geteuid() != 0:
        print(
            f"benchmarks load programs and make namespaces: run them as root, this is user {os.geteuid()}",
            file=sys.stderr,
        )
        return 1

    os.nice(_NICE)
    figures: list[Figure] = []
    broken: list[str] = []
    for name in arguments.names or NAMES:
        print(f"{name} … ", end="", flush=True, file=sys.stderr)
        try:
            if name in IN_A_BROWSER and (missing := without_browser()):
                print(f"not measured: {missing}", file=sys.stderr)
                continue
            figures += importlib.import_module(f"benchmarks.{name}").figures()
        except Exception:  # the others have something to say
            broken.append(name)
            traceback.print_exc()
    print(file=sys.stderr)
    where = machine()
    print(table(figures))
    print(", ".join(where.values()))
    if arguments.json:
        found = {"machine": where, "figures": [figure.json() for figure in figures]}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

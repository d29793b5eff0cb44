"""Start the process of a pod: ``python -I -S launch.py agent NAME CONTROL_FD CGROUP``.

The ``__init__`` of the package imports all of Kmesh Lab, and a pod should be there in milliseconds. So the packages are
put in place empty, as folders only, and the module that was asked for is imported from them: by its usual name, from
the usual cached bytecode.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType


def main() -> None:
    """Run ``main(name, control_fd, cgroup)`` of the module of this folder that is named first."""
    folder = os.path.dirname(os.path.abspath(__file__))  # pathlib would add a third to the time of the start
    for package, path in (("kmesh_lab", os.path.dirname(folder)), ("kmesh_lab.traffic", folder)):
        module = ModuleType(package)
        module.__path__ = [path]
        sys.modules[package] = module
    program, name, control_fd, cgroup = sys.argv[1:]
    importlib.import_module(f"kmesh_lab.traffic.{program}").main(name, int(control_fd), cgroup)


if __name__ == "__main__":
    main()

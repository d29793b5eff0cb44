"""What all tests share: a data folder of the tests' own, and a cgroup2 that has nobody else's labs in it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmesh_lab.kernel import cgroup, warden


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`make test`: a file goes to one worker, and all of tests/browser to one together, for one JupyterLab."""
    from xdist.scheduler import LoadFileScheduling  # here, because one test needs it as little as `make image-check`

    class OneJupyterLab(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "tests/browser" if file.startswith("tests/browser/") else file

    return OneJupyterLab(config, log)


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes to the weak spots of whoever runs it, and neither does a kernel or JupyterLab that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def mountinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hierarchy of our own as the only cgroup2 of this machine, so that nobody else's labs are in sight."""
    top = cgroup.cgroup2_mount() / f"kmesh-lab-test-{secrets.token_hex(4)}"
    top.mkdir()
    device = top.stat().st_dev
    path = tmp_path / "mountinfo"
    path.write_text(f"1 1 {os.major(device)}:{os.minor(device)} / {top} rw - cgroup2 none rw\n")
    monkeypatch.setattr(cgroup, "_MOUNTINFO", path)
    yield path
    warden.remove_tree(str(top))

"""The client and the server in C: whichever compiler there is, and what they say when something is wrong."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from kmesh_lab.comparison import load
from kmesh_lab.comparison.load import SERVER_PORT, path_cpu, reserved_cpu
from kmesh_lab.comparison.paths import PATHS, Lane, open_lane
from kmesh_lab.errors import CompileError, LabError
from kmesh_lab.kernel import proxying
from tests.lab.outside import Machine, run_owner

pytestmark = pytest.mark.root

OWNER = """
from kmesh_lab.comparison.paths import PATHS, open_lane
with open_lane(PATHS["kernel"]) as lane:
    lane.client.run("keep", *lane.route.target, count=1)
    print("ready", flush=True)
    input()
"""


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    with open_lane(PATHS["kernel"]) as lane:
        yield lane


def test_the_client_asks_so_many_times_and_every_answer_is_right(lane: Lane) -> None:
    run = lane.client.run("new", *lane.route.target, count=25)

    assert (run.requests, run.wrong) == (25, 0)
    assert 0 < run.connect < run.first_byte
    assert 0 < run.cpu < run.wall


def test_two_comparisons_of_one_machine_take_different_cpus_or_turns() -> None:
    cpus = os.sched_getaffinity(0)
    with reserved_cpu() as mine, reserved_cpu() as inside:
        assert mine == inside == path_cpu()

    with ExitStack() as others:
        for cpu in cpus:
            taken = others.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            with suppress(OSError):  # a comparison of somebody else has it
                taken.bind(f"\0kmesh-lab-cpu-{cpu}")

        with reserved_cpu(patience=0.1) as shared:  # all are taken: rather noisy than never
            assert shared == max(cpus)


def test_a_run_ends_with_its_time(lane: Lane) -> None:
    run = lane.client.run("keep", *lane.route.target, milliseconds=20)

    assert run.wall >= 20_000_000
    assert run.requests > 0


@pytest.mark.parametrize(
    ("address", "port", "problem"),
    [("10.96.0.11", 80, "No route to host"), ("127.0.0.1", 9, "Connection refused")],
)
def test_where_nobody_answers_the_client_says_so_and_goes_on(lane: Lane, address: str, port: int, problem: str) -> None:
    with pytest.raises(LabError, match=f"^the client in pod 'shop' asked {address} port {port} .* {problem}$"):
        lane.client.run("new", address, port, count=1)

    assert lane.client.run("keep", *lane.route.target, count=1).requests == 1


def test_an_answer_that_is_not_the_servers_is_wrong(lane: Lane) -> None:
    pod = lane.lab.pod(f"other-{secrets.token_hex(2)}", "n2", listen=SERVER_PORT)  # says its own name

    assert lane.client.run("new", pod.address, SERVER_PORT, count=3).wrong == 3


@pytest.mark.parametrize("compiler", ["gcc", "clang", "tcc"])
def test_every_compiler_will_do(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shutil.which(compiler), "apt.txt names tcc and clang; gcc comes with them"
    monkeypatch.setattr(proxying, "_COMPILERS", (compiler,))
    load._compiled.cache_clear()
    load.system_calls.cache_clear()

    assert "connect" in load.system_calls().values()

    load._compiled.cache_clear()


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxying, "_COMPILERS", ("no-such-compiler",))

    with pytest.raises(LabError, match="install Debian's packages tcc and libc6-dev"):
        load._compiled.__wrapped__()


def test_a_process_that_cannot_be_moved_is_a_failure_of_its_path_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "path_cpu", lambda: 4095)  # no machine of a learner has so many

    with pytest.raises(
        LabError, match=rf"process {os.getpid()} was not moved to CPU 4095: taskset: .*Invalid argument"
    ):
        load.keep_on_path(os.getpid())


def test_c_that_does_not_compile_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "load.c"
    broken.write_text("int main(void) { return nothing; }\n")
    monkeypatch.setattr(load, "_SOURCE", broken)

    with pytest.raises(CompileError, match=r"load\.c did not compile with .*nothing"):
        load._compiled.__wrapped__()


def test_a_killed_owner_leaves_neither_client_nor_server_behind() -> None:
    machine = Machine()
    with run_owner(OWNER, machine.mark) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        assert len(machine.processes()) >= 5  # the owner, two pods, the client and the server

    assert machine.left(seconds=5) == []

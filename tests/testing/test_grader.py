"""Tests are worth what they notice: empty ones nothing, the reference ones everything."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kmesh_lab.errors import CgroupUnavailable, LabError
from kmesh_lab.testing import grade, repaired, worthless
from kmesh_lab.testing.mutants import SUBJECTS
from kmesh_lab.testing.stage import STAGES

pytestmark = pytest.mark.root


def empty(lab: Any) -> None:
    """Asserts nothing."""


@pytest.mark.parametrize("subject", SUBJECTS)
def test_an_empty_test_kills_no_mutant(subject: str) -> None:  # tests/exercises: the reference tests kill every one
    assert len(SUBJECTS[subject]) >= 10

    graded = grade(subject, [empty])

    assert not graded
    assert (graded.score, graded.killed) == (0.0, [])
    assert [test.outcome for test in graded.tests] == ["passed"]


@pytest.mark.parametrize(
    ("subject", "name", "mutant"),
    [
        ("tlv", "test_the_socket_is_in_km_socket", "no socket gets into km_socket"),
        ("locality", "test_a_pod_is_reached", "connect4 decides nothing"),
        ("locality", "test_an_ipv6_client_reaches_the_service", "connect6 decides nothing"),
        ("locality", "test_strict_uses_the_endpoint_that_is_near", "STRICT falls over"),
    ],
)
def test_a_worthless_test_lets_its_mutant_live_and_the_repaired_one_kills_it(
    subject: str, name: str, mutant: str
) -> None:
    before = grade(subject, [getattr(worthless, name)], mutants=[mutant])
    after = grade(subject, [getattr(repaired, name)], mutants=[mutant])

    assert before.survived == after.killed == [mutant]
    assert all(test.outcome == "passed" for test in (*before.tests, *after.tests))


def test_the_report_names_the_killer_and_what_a_survivor_does() -> None:
    graded = grade("locality", [empty], mutants=["STRICT falls over"])

    assert str(graded) == (
        "locality: 0 of 1 mutant killed by 1 test\n"
        "  ✓ empty: passes\n"
        "  ✗ STRICT falls over: survived. STRICT goes on to further priorities, as FAILOVER does."
    )
    assert "survived. STRICT goes on to further priorities" in graded._repr_html_()


def test_a_test_that_hangs_is_stopped_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmesh_lab.testing.runner.TEST_SECONDS", 0.5)

    def never_ends(lab: Any) -> None:
        threading.Event().wait()

    graded = grade("tlv", [never_ends, empty], mutants=["no end mark"])

    assert [test.outcome for test in graded.tests] == ["hung", "not run"]
    assert graded.survived == ["no end mark"]
    assert "never_ends: did not end: stopped after 0.5 s" in str(graded)


def test_a_test_that_hangs_on_a_mutant_only_has_noticed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmesh_lab.testing.runner.TEST_SECONDS", 3)

    def waits_for_the_end_mark(shop: Any, inventory: Any, waypoint: Any) -> None:
        with shop.connect(inventory) as connection:
            connection.send(b"HELLO")
            while bytes(waypoint.captured())[11] != 0xFE:
                pass

    assert grade("tlv", [waits_for_the_end_mark], mutants=["no end mark"]).killed == ["no end mark"]


def test_a_test_that_ends_its_process_is_reported() -> None:
    def leaves(lab: Any) -> None:
        os._exit(3)

    (result,) = grade("tlv", [leaves], mutants=["no end mark"]).tests

    assert result.outcome == "died"


def test_a_test_that_fails_on_the_real_programs_kills_nothing() -> None:
    def refuses_everything(lab: Any) -> None:
        raise AssertionError("no")

    graded = grade("tlv", [refuses_everything, empty], mutants=["no end mark"])

    assert [test.outcome for test in graded.tests] == ["failed", "passed"]
    assert graded.tests[0].text.startswith("AssertionError: no (line ")
    assert graded.killed == []


def test_a_test_that_passes_only_the_first_time_kills_nothing(tmp_path: Path) -> None:
    def once(lab: Any) -> None:
        (tmp_path / "been here").mkdir()

    graded = grade("tlv", [once], mutants=["no end mark"])

    assert [test.outcome for test in graded.tests] == ["unstable"]
    assert graded.killed == []


def test_the_process_of_a_test_that_hangs_is_gone_and_so_is_its_lab(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kmesh_lab.testing.runner.TEST_SECONDS", 0.5)

    def hangs(shop: Any) -> None:
        (tmp_path / "pids").write_text(f"{os.getpid()} {shop.pid}")
        threading.Event().wait()

    grade("tlv", [hangs], mutants=["no end mark"])

    for pid in (tmp_path / "pids").read_text().split():
        assert gone(int(pid))


KILLED = """
import os, sys, threading
from kmesh_lab.testing import grade

def hangs(shop):
    print(os.getpid(), shop.pid, file=open(sys.argv[1] + ".new", "w"), flush=True)
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    threading.Event().wait()

grade("tlv", [hangs], mutants=["no end mark"])
"""


def test_nothing_is_left_when_the_process_that_asked_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    asking = subprocess.Popen([sys.executable, "-c", KILLED, str(note)])
    while not note.exists():
        assert asking.poll() is None
        time.sleep(0.05)

    asking.kill()
    asking.wait()

    for pid in note.read_text().split():
        assert gone(int(pid))


def test_a_lab_that_cannot_be_made_is_an_error_and_no_grade(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_cgroup(image: Any) -> Any:
        raise CgroupUnavailable("no cgroup2 file system is mounted")

    monkeypatch.setitem(STAGES, "tlv", no_cgroup)

    with pytest.raises(LabError, match="the pods for the tests were not made: no cgroup2 file system is mounted"):
        grade("tlv", [empty], mutants=["no end mark"])


def gone(pid: int) -> bool:
    """Wait for the end of a process that has been told to end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    return bool(select.select([descriptor], [], [], 10)[0])


@pytest.mark.parametrize(
    ("subject", "tests", "mutants", "message"),
    [
        ("udp", [empty], None, "no subject 'udp': there is tlv or locality"),
        ("tlv", "test", None, "'test' are no tests: expected a list of functions"),
        ("tlv", [7], None, "7 is no test: expected a function"),
        ("tlv", [lambda shop, wp: None], None, "asks for 'wp': a test of tlv can ask for lab, n1, shop"),
        ("tlv", [empty, empty], None, "two tests are called empty"),
        ("tlv", [empty], ["no mark"], "no mutant 'no mark' of tlv: there is 'a TLV before every message'"),
    ],
)
def test_what_cannot_be_graded_is_refused_at_once(subject: str, tests: Any, mutants: Any, message: str) -> None:
    with pytest.raises(LabError, match=message):
        grade(subject, tests, mutants)


def test_without_a_test_every_mutant_survives() -> None:
    graded = grade("tlv", [])

    assert not graded
    assert len(graded.survived) == len(SUBJECTS["tlv"])

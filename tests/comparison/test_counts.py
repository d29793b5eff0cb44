"""What a request comes to on each path, counted by the kernel: the same on every machine, however busy it is."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kmesh_lab.comparison.counting import Counter, Counts
from kmesh_lab.comparison.load import How, system_calls
from kmesh_lab.comparison.paths import PATHS, Lane, open_lane

pytestmark = pytest.mark.root

REQUESTS = 100  # a hundred, and two hundred in a second run


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    counter = Counter()
    yield counter
    counter.close()


@pytest.fixture(scope="module")
def lanes() -> Iterator[dict[str, Lane]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(open_lane(PATHS[name])) for name in PATHS}


@pytest.fixture(scope="module")
def counts(counter: Counter, lanes: dict[str, Lane]) -> dict[tuple[str, How], Counts]:
    hows: tuple[How, How] = ("keep", "new")
    return {(name, how): counter.count(lane, how, REQUESTS) for name, lane in lanes.items() for how in hows}


def test_a_kept_connection_costs_five_system_calls_and_two_segments_a_request(
    counts: dict[tuple[str, How], Counts],
) -> None:
    keep = counts["direct", "keep"]

    assert keep.syscalls == {"client": 2, "server": 3}  # send, recv; epoll_wait, recv, send
    assert (keep.connections, keep.segments) == (0, 2)
    assert keep.passed == {}


def test_a_new_connection_costs_thirteen_system_calls_and_ten_segments(
    counts: dict[tuple[str, How], Counts],
) -> None:
    new = counts["direct", "new"]

    assert sum(new.syscalls.values()) == pytest.approx(13, rel=0.05)
    assert new.syscalls["client"] == 6  # socket, connect, send, recv, recv (the end), close
    assert new.connections == 1
    assert new.segments == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("how", ["keep", "new"])
def test_the_kernel_path_adds_no_system_call_no_connection_and_no_segment(
    counts: dict[tuple[str, How], Counts], how: How
) -> None:
    direct, kernel = counts["direct", how], counts["kernel", how]

    assert kernel.syscalls["client"] == direct.syscalls["client"]
    assert sum(kernel.syscalls.values()) == pytest.approx(sum(direct.syscalls.values()), rel=0.05)
    assert kernel.connections == direct.connections
    assert kernel.segments == pytest.approx(direct.segments, rel=0.05)
    assert kernel.passed == {}


def test_a_waypoint_is_one_more_connection_and_everything_is_sent_twice(
    counts: dict[tuple[str, How], Counts],
) -> None:
    keep, new = counts["waypoint", "keep"], counts["waypoint", "new"]

    assert keep.connections == 0
    assert keep.segments == pytest.approx(4, rel=0.02)  # an ACK that was late in one of the runs
    assert new.connections == 2
    assert new.segments > 2 * counts["direct", "new"].segments  # and the TLV is a segment of its own
    assert new.passed == {"waypoint": 1}
    assert keep.syscalls["waypoint"] > 0


def test_a_stock_envoy_as_waypoint_is_one_hop_of_ten_system_calls(counts: dict[tuple[str, How], Counts]) -> None:
    keep, new = counts["envoy waypoint", "keep"], counts["envoy waypoint", "new"]

    assert keep.syscalls["Envoy of waypoint"] == pytest.approx(10, rel=0.05)
    assert keep.segments == pytest.approx(4, rel=0.02)
    assert new.connections == pytest.approx(1, abs=0.03)  # behind it, the connection is there already
    assert keep.passed == new.passed == {"Envoy of waypoint": 1}


def test_sidecars_that_copy_bytes_open_three_connections_and_each_has_seen_everyone(
    counts: dict[tuple[str, How], Counts],
) -> None:
    keep, new = counts["sidecars tcp", "keep"], counts["sidecars tcp", "new"]

    assert new.connections == 3
    assert new.segments == pytest.approx(30, rel=0.05)
    assert new.passed == {"Envoy of shop": 1, "Envoy of inventory": 1}
    assert keep.segments == pytest.approx(6, rel=0.01)


@pytest.mark.parametrize("path", ["sidecars http", "sidecars mtls"])
def test_sidecars_that_read_requests_keep_connections_of_their_own(
    counts: dict[tuple[str, How], Counts], path: str
) -> None:
    keep, new = counts[path, "keep"], counts[path, "new"]

    assert new.connections == pytest.approx(1, abs=0.03)  # to the shop's Envoy; behind it they are there already
    assert new.segments == pytest.approx(14, rel=0.05)
    assert keep.passed == new.passed == {"Envoy of shop": 1, "Envoy of inventory": 1}
    assert keep.syscalls["server"] == pytest.approx(new.syscalls["server"], rel=0.05)


def test_a_request_through_two_envoys_is_twenty_more_system_calls(counts: dict[tuple[str, How], Counts]) -> None:
    keep = counts["sidecars http", "keep"].syscalls

    assert keep["client"] == 2
    assert keep["Envoy of shop"] == pytest.approx(10, rel=0.05)  # 4 epoll_wait, 4 readv, 2 writes
    assert keep["Envoy of inventory"] == pytest.approx(10, rel=0.05)
    assert sum(keep.values()) == pytest.approx(25, rel=0.05)


def test_context_switches_of_a_kept_connection_are_two(counts: dict[tuple[str, How], Counts]) -> None:
    switches = counts["direct", "keep"].switches

    assert sum(switches.values()) == pytest.approx(2, rel=0.15)


def test_counts_repeat_within_five_percent(
    counter: Counter, lanes: dict[str, Lane], counts: dict[tuple[str, How], Counts]
) -> None:
    again = counter.count(lanes["kernel"], "new", REQUESTS)

    before = counts["kernel", "new"]
    assert sum(again.syscalls.values()) == pytest.approx(sum(before.syscalls.values()), rel=0.05)
    assert again.connections == before.connections
    assert again.segments == pytest.approx(before.segments, rel=0.05)


def test_reading_the_clock_is_no_system_call_of_a_request(counter: Counter) -> None:
    """It is one of the machine's where the vDSO cannot read its clock, as with most clocksources but the TSC."""
    numbers = {name: number for number, name in system_calls().items()}
    libc, time = ctypes.CDLL(None), ctypes.create_string_buffer(16)
    counter._watch({"this process": os.getpid()})

    def counted(name: str, *arguments: object) -> int:
        before: int = counter._row("kl_counts", 0)["syscalls"]
        libc.syscall(numbers["getppid"])  # the mark
        for _ in range(20):
            libc.syscall(numbers[name], *arguments)
        libc.syscall(numbers["getppid"])
        after: int = counter._row("kl_counts", 0)["syscalls"]
        return after - before

    assert counted("getpid") == 20
    assert counted("clock_gettime", 1, time) == 0
    assert counted("gettimeofday", time, None) == 0


def test_softirqs_are_counted_on_the_cpu_of_the_path(counts: dict[tuple[str, How], Counts]) -> None:
    keep = counts["direct", "keep"]

    assert keep.softirqs >= 1.9  # one for each segment
    assert keep.softirq_ns > 0

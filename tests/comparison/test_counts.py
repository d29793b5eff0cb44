"""What a request comes to on each path, counted by the kernel: the same on every machine, however busy it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kmesh_lab.comparison.counting import Counter, Counts
from kmesh_lab.comparison.load import How
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
        yield {name: stack.enter_context(open_lane(PATHS[name])) for name in ("direct", "kernel", "waypoint")}


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

    assert (keep.connections, keep.segments) == (0, 4)
    assert new.connections == 2
    assert new.segments > 2 * counts["direct", "new"].segments  # and the TLV is a segment of its own
    assert new.passed == {"waypoint": 1}
    assert keep.syscalls["waypoint"] > 0


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


def test_softirqs_are_counted_on_the_cpu_of_the_path(counts: dict[tuple[str, How], Counts]) -> None:
    keep = counts["direct", "keep"]

    assert keep.softirqs >= 1.9  # one for each segment
    assert keep.softirq_ns > 0

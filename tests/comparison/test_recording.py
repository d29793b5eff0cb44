"""follow(): one request, every step of it, as the kernel reported it."""

from __future__ import annotations

import ast
import platform
import subprocess
import sys

import pytest

from kmesh_lab.comparison import Recording, follow
from kmesh_lab.comparison.recorder import recording_switches
from kmesh_lab.comparison.recording import Moment
from kmesh_lab.errors import KernelNotSupported
from kmesh_lab.kernel.compiler import BPF_DIR, compile_c

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def kernel() -> Recording:
    return follow("kernel")


@pytest.fixture(scope="module")
def sidecars() -> Recording:
    return follow("sidecars http")


@pytest.fixture(scope="module")
def waypoint() -> Recording:
    return follow("waypoint")


def labels(recording: Recording, kind: str) -> list[str]:
    return [moment.label for moment in recording.moments if moment.kind == kind]


def the(recording: Recording, kind: str, label: str) -> Moment:
    return next(moment for moment in recording.moments if (moment.kind, moment.label) == (kind, label))


def test_the_kernel_lane_has_every_system_call_and_every_segment_once(kernel: Recording) -> None:
    assert kernel.calls == {
        "client": {"socket": 1, "connect": 1, "sendto": 1, "recvfrom": 2, "close": 1},
        "server": {"epoll_wait": 2, "accept4": 1, "epoll_ctl": 1, "recvfrom": 1, "sendto": 1, "close": 1},
    }
    assert labels(kernel, "send")[:4] == ["SYN", "SYN+ACK", "ACK", "67 B"]
    assert kernel.count("send") == kernel.count("receive")
    assert kernel.passed == {}


def test_a_segment_is_of_the_process_that_has_the_cpu(kernel: Recording) -> None:
    assert [the(kernel, "send", label).actor for label in ("SYN", "67 B", "96 B")] == ["client", "client", "server"]


def test_the_programs_on_segments_call_only_helpers_that_cgroup_skb_has_since_linux_5_13() -> None:
    known = {1: "map_lookup_elem", 5: "ktime_get_ns", 26: "skb_load_bytes", 46: "get_socket_cookie"}
    known |= {131: "ringbuf_reserve", 132: "ringbuf_submit"}  # but not 14, get_current_pid_tgid: Linux 6.10
    image = compile_c(BPF_DIR / "watch" / "record.c", recording_switches())

    for name in ("record_send", "record_receive"):
        code = image.programs[name].instructions
        calls = {int.from_bytes(code[at + 4 : at + 8], "little") for at in range(0, len(code), 8) if code[at] == 0x85}
        assert calls == known.keys(), name


def test_the_address_is_exchanged_inside_connect_by_lines_of_c(kernel: Recording) -> None:
    connect, verdict = the(kernel, "call", "connect"), the(kernel, "decision", "verdict")
    rewritten = the(kernel, "redirect", "rewritten")

    assert connect.story == "asks for 10.96.0.10:80 on 3"
    assert connect.start < verdict.start < rewritten.start < connect.end
    assert verdict.location is not None
    assert (verdict.location.file, verdict.location.function) == ("cgroup_sock.c", "cgroup_connect4_prog")
    assert rewritten.story == "the SYN for 10.96.0.10:80 leaves for 10.244.2.1:8080: a program has exchanged it"


def test_the_bytes_of_a_step_are_those_that_were_sent(kernel: Recording) -> None:
    sent, read = the(kernel, "call", "sendto"), the(kernel, "send", "67 B")

    assert sent.data == read.data == b"GET /stock/42 HTTP/1.1\r\nhost: inventory.shop\r\nconnection: close\r\n\r\n"
    assert sent.length == 67
    answer = next(moment for moment in kernel.moments if moment.actor == "client" and moment.label == "recvfrom")
    assert answer.data.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_sidecar_lane_passes_two_envoys_and_they_say_so_themselves(sidecars: Recording) -> None:
    assert sidecars.actors == ("client", "Envoy of shop", "Envoy of inventory", "server")
    assert sidecars.passed == {"Envoy of shop": 1, "Envoy of inventory": 1}
    assert sidecars.calls["Envoy of inventory"] == {"epoll_wait": 4, "readv": 4, "sendto": 2}
    assert labels(sidecars, "decision") == []
    redirect = the(sidecars, "redirect", "REDIRECT")
    assert redirect.story == "the SYN for 10.96.0.10:80 leaves for 127.0.0.1:15001: netfilter's OUTPUT"
    stories = [moment.story for moment in sidecars.moments]
    assert any("SO_ORIGINAL_DST" in story for story in stories)


def test_the_cost_of_an_envoy_is_mostly_its_own_code(sidecars: Recording, kernel: Recording) -> None:
    own, in_kernel = sidecars.shares["Envoy of shop"]

    assert own > in_kernel
    assert sum(map(sum, sidecars.shares.values())) == pytest.approx(sidecars.duration - sidecars.foreign, rel=0.1)
    assert sidecars.duration > kernel.duration


def test_a_waypoint_gets_a_tlv_first_and_the_address_is_its_own(waypoint: Recording) -> None:
    tlv = the(waypoint, "decision", "tlv")

    assert "16 bytes" in tlv.story
    first = next(moment for moment in waypoint.moments if moment.kind == "send" and moment.length)
    assert first.data.startswith(bytes.fromhex("01000000060a60000a0050fe00000000"))
    assert labels(waypoint, "decision").count("tail call") == 1  # the program runs again for the waypoint's VIP
    assert "waypoint" in waypoint.calls


def test_processes_have_the_cpu_one_after_the_other(sidecars: Recording) -> None:
    ends = [0.0]
    for stretch in sidecars.stretches:
        assert stretch.start >= ends[-1]
        ends.append(stretch.end)
    assert sidecars.count("switch") >= 6


def test_over_a_kept_connection_nobody_connects() -> None:
    kept = follow("direct", "keep")

    assert kept.calls == {
        "client": {"sendto": 1, "recvfrom": 1},
        "server": {"epoll_wait": 1, "recvfrom": 1, "sendto": 1},
    }
    assert labels(kept, "redirect") == []


def test_it_shows_itself_as_a_line_and_as_a_picture(sidecars: Recording) -> None:
    assert repr(sidecars).startswith("<Recording of sidecars http: ")
    assert len(repr(sidecars)) <= 99
    picture = sidecars._repr_svg_()
    assert picture.startswith("<svg")
    assert "Envoy of shop forwarded 1" in picture


def test_a_machine_whose_registers_are_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "s390x")

    with pytest.raises(KernelNotSupported, match="no recording on s390x"):
        follow("direct")


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown path 'sidecar': expected direct, kernel"):
        follow("sidecar")


IN_A_CONTAINER = """
from kmesh_lab.comparison import follow
from kmesh_lab.comparison.counting import Counter
from kmesh_lab.comparison.paths import PATHS, open_lane

recording = follow("kernel")
print([recording.calls, {moment.actor for moment in recording.moments if moment.kind in ("send", "receive")}])
with open_lane(PATHS["direct"]) as lane:
    counter = Counter()
    print(counter.count(lane, "keep", 20).syscalls)
    counter.close()
"""


def test_where_processes_have_other_numbers_than_the_kernels_own_the_same_is_recorded_and_counted(
    kernel: Recording,
) -> None:
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run([*apart, sys.executable, "-c", IN_A_CONTAINER], capture_output=True, text=True, check=True)

    (calls, actors), counted = map(ast.literal_eval, done.stdout.splitlines())
    assert calls == kernel.calls
    assert {"client", "server"} <= actors
    assert counted == {"client": 2, "server": 3}


def test_sidecars_are_recorded_without_the_capability_to_move_processes_of_other_users() -> None:
    fewer = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]  # as in a container that is not privileged
    code = "from kmesh_lab.comparison import follow; print(follow('sidecars http').passed)"

    done = subprocess.run([*fewer, sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stderr == ""
    assert done.stdout == "{'Envoy of shop': 1, 'Envoy of inventory': 1}\n"

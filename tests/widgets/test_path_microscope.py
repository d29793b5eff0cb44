"""PathMicroscope without a browser and without a kernel: what the page gets, and the static form."""

from __future__ import annotations

import json

import pytest

from kmesh_lab.comparison import PATHS, Moment, Recording
from kmesh_lab.comparison.recording import Stretch
from kmesh_lab.datapath.decision import Location
from kmesh_lab.kernel.compiler import BPF_DIR, flatten
from kmesh_lab.widgets import PathMicroscope

HOSTILE = "<img src=x onerror=alert(1)>"
REQUEST = b"GET /stock/42 HTTP/1.1\r\nhost: inventory.shop\r\n\r\n"
TLV = bytes.fromhex("01000000060a60000a0050fe00000000")


def line_of(file: str, text: str) -> int:
    lines = (BPF_DIR / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


VERDICT = Location("cgroup_sock.c", line_of("cgroup_sock.c", "KL_VERDICT"), "cgroup_connect4_prog")


def recording(*moments: Moment, name: str = "kernel", passed: dict[str, int] | None = None) -> Recording:
    stretches = (Stretch(0, 10, "client"), Stretch(10, 14, ""), Stretch(14, 20, "server"))
    return Recording(PATHS[name], ("client", "server"), moments, stretches, passed or {}, flatten(BPF_DIR / "kmesh.c"))


CONNECT = Moment(1.04, 8, "client", "call", "connect", "asks for 10.96.0.10:80 on 3")
DECIDED = Moment(3, 3, "client", "decision", "verdict", "connect(2) goes on to 10.244.2.1:8080", location=VERDICT)
REWRITTEN = Moment(4, 4, "client", "redirect", "rewritten", "the SYN leaves for 10.244.2.1:8080")
SENT = Moment(9, 9.5, "client", "call", "sendto", "sends 49 bytes on 3", len(REQUEST), REQUEST)
SEGMENT = Moment(9.2, 9.2, "client", "send", "49 B", "49 bytes leave", 400, REQUEST)
SWITCH = Moment(10, 10, "client", "switch", "context switch", "client leaves the CPU, somebody else gets it")


def view() -> PathMicroscope:
    return PathMicroscope(recording(CONNECT, DECIDED, REWRITTEN, SENT, SEGMENT, SWITCH))


def test_a_lane_has_a_row_for_each_process_and_one_for_the_wire() -> None:
    (lane,) = view().frame["lanes"]

    assert lane["rows"] == ["client", "server", "wire"]
    assert [moment["row"] for moment in lane["moments"]] == [0, 2, 2, 0, 2, 0]
    assert lane["stretches"] == [[0, 10, 0], [14, 20, 1]]  # not that of others
    assert lane["moments"][0]["start"] == 1.0


def test_a_step_of_a_program_has_its_c() -> None:
    (lane,) = view().frame["lanes"]
    source = lane["moments"][1]["source"]

    assert (source["file"], source["line"]) == ("bpf/cgroup_sock.c", VERDICT.line)
    assert "KL_VERDICT" in source["lines"][source["line"] - source["first"]]
    assert lane["moments"][0]["source"] is None


def test_bytes_are_text_where_they_are_text_and_hex_elsewhere() -> None:
    tlv = Moment(1, 1, "client", "send", "16 B", "", 16, TLV)
    (lane,) = PathMicroscope(recording(SENT, SEGMENT, tlv)).frame["lanes"]

    texts = [moment["bytes"] for moment in lane["moments"]]
    assert texts == [
        "GET /stock/42 HTTP/1.1\nhost: inventory.shop",
        "GET /stock/42 HTTP/1.1\nhost: inventory.shop\n… and 352 bytes more",
        "01000000 060a6000 0a0050fe 00000000",
    ]


def test_time_on_the_cpu_is_split_into_own_code_and_kernel() -> None:
    (lane,) = view().frame["lanes"]

    # connect and sendto take 6.96 + 0.5 of the client's 10 µs; the server has made no system call.
    assert lane["shares"] == [["client", 2.5, 7.5], ["server", 6.0, 0.0]]


def test_the_static_form_has_the_picture_every_step_its_bytes_and_its_line_of_c() -> None:
    html = view().html()

    assert html.startswith("<svg")
    for text in ("asks for 10.96.0.10:80 on 3", "GET /stock/42 HTTP/1.1", "bpf/cgroup_sock.c line", "KL_VERDICT"):
        assert text in html
    assert "client: 2.5 µs in its own code, 7.5 µs in the kernel" in html
    assert html.count("<tr>") >= 6


def test_the_frame_is_json_and_the_repr_is_one_line() -> None:
    both = PathMicroscope(recording(CONNECT), recording(SENT, name="sidecars http", passed={"Envoy of shop": 1}))

    json.dumps(both.frame)
    assert len(repr(both)) <= 99
    assert both.frame["lanes"][1]["summary"].endswith("; Envoy of shop forwarded 1")


def test_names_of_others_are_escaped() -> None:
    moment = Moment(0, 1, HOSTILE, "send", HOSTILE, HOSTILE, len(HOSTILE), HOSTILE.encode())

    assert "<img" not in PathMicroscope(recording(moment, passed={HOSTILE: 1})).html()


def test_what_is_no_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="a lane of 'kernel'\\? expected a recording"):
        PathMicroscope("kernel")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no recordings: expected 1 to 4"):
        PathMicroscope()

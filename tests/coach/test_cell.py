"""Whatever C a learner writes, the coach answers, and the lab goes on."""

from __future__ import annotations

import os

import pytest

import kmesh_lab as km
from kmesh_lab.coach import coach

from .conftest import cell

pytestmark = pytest.mark.root

ACCEPTED = 'SEC("cgroup/connect4")\nint learn(struct bpf_sock_addr *ctx)\n{\n\treturn 1;\n}\n'
BODY = 'SEC("cgroup/connect4")\nint learn(struct bpf_sock_addr *ctx)\n{\n%s\treturn 1;\n}\n'

TO_PORT_8080 = """
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	if (ctx->user_port == bpf_htons(9))
		ctx->user_port = bpf_htons(%d);
	return 1;
}
"""


@pytest.fixture
def lab():
    with km.Lab() as lab:
        yield lab


def test_what_the_kernel_takes_is_accepted_with_the_size_of_each_program() -> None:
    verdict = coach(ACCEPTED)

    assert verdict
    assert str(verdict) == ("✓ accepted: the kernel would run learn\n  learn, cgroup/connect4: 2 instructions")


def test_the_headers_of_the_lab_are_there_already() -> None:
    text = "\tstruct frontend_key key = {};\n\tif (frontend_lookup(&key))\n\t\treturn 1;\n"

    assert coach(BODY % text)
    assert coach('#include "include/service.h"\n' + BODY % text)


def test_a_rejection_that_no_rule_fits_is_said_to_be_unknown_and_not_guessed_at() -> None:
    verdict = coach(BODY % "\tbpf_tail_call_(bpf_pseudo_fd(1, -1), ctx, 0);\n")

    assert verdict.outcome == "rejected"
    assert verdict.rule == ""
    assert "The coach does not know this rejection, and does not guess." in str(verdict)
    assert "expected prog array map for tail call" in str(verdict)
    assert "What it means" not in str(verdict)
    assert "smallest fix" not in str(verdict)


@pytest.mark.parametrize("text", ["", "\n", "int x;", "BPF_HASH(rows);", "int learn(void *ctx) { return 1; }", "}{\0"])
def test_a_cell_without_a_program_is_told_what_a_program_is(text: str) -> None:
    verdict = coach(text)

    assert verdict.outcome == "not loaded"
    assert 'A program is a function with its hook in front: SEC("cgroup/connect4")' in str(verdict)


def test_an_unknown_hook_is_named() -> None:
    assert "unknown section 'cgroup/conect4'" in str(coach(ACCEPTED.replace("connect4", "conect4")))


def test_what_does_not_compile_is_shown_in_the_words_of_the_compiler_with_its_line() -> None:
    verdict = coach(BODY % "\tctx->user_prt = 0;\n")

    assert verdict.outcome == "not compiled"
    assert verdict.source == "ctx->user_prt = 0;"
    assert "no member named 'user_prt' in 'struct bpf_sock_addr'" in str(verdict)
    assert "These are the compiler's own words." in str(verdict)


def test_ten_thousand_lines_have_a_verdict_and_far_more_are_not_even_tried() -> None:
    line = "\tctx->user_port = ctx->user_port ^ 1;\n"

    assert coach(BODY % (line * 10_000))
    assert "more than 20,000 lines" in str(coach(BODY % (line * 30_000)))


def test_a_compiler_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmesh_lab.kernel.compiler._HURRY", 0.01)

    assert "did not compile within 0.01 s; make it smaller" in str(coach(BODY % "\tctx->user_port = 1;\n"))


def test_a_crash_of_the_compiler_is_a_verdict_too() -> None:
    ring = "BPF_RINGBUF_OUTPUT(ring, 1);\n"

    verdict = coach(ring + BODY % "\tu8 head[16] = {};\n\tring.ringbuf_output(head, ctx->user_port, 0);\n")

    assert verdict.outcome == "not compiled"
    assert "did not compile" in str(verdict)


def test_a_loop_that_the_verifier_gives_up_has_a_short_log_and_the_line_of_the_loop() -> None:
    verdict = coach(cell("loop-too-long"))

    assert verdict.source.startswith("for (u32 i = 0; i < ctx->user_ip4; i++)")
    assert len(verdict.log) < 1 << 20


def test_two_loops_leave_the_line_open() -> None:
    loop = "\tfor (u32 i = 0; i < ctx->user_ip4; i++)\n\t\tbpf_get_prandom_u32();\n"

    verdict = coach(BODY % (loop + loop))

    assert verdict.rule == "loop-too-long"
    assert "the log does not say at which line" in str(verdict)


def test_the_html_says_what_the_text_says_and_folds_the_whole_log() -> None:
    verdict = coach(BODY % "\tu8 *data = 0; /* <script>alert(1)</script> */\n\tif (ctx->user_ip4)\n\t\tdata[7] = 1;\n")

    page = verdict._repr_html_()

    assert "<script>" not in page
    assert "<details" in page
    assert "<details open" not in page
    assert "processed " in page
    assert f"The whole log, {len(verdict.log.strip().splitlines())} lines" in page


def test_an_accepted_program_runs_on_a_node_when_it_is_attached(lab: km.Lab) -> None:
    n1 = lab.node("n1")
    shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
    assert shop.connect_many(near, 9, count=1).refused == {"ECONNREFUSED": 1}

    verdict = coach(TO_PORT_8080 % 8080, attach=n1)

    assert verdict.notes == ["learn is attached to n1"]
    assert shop.connect_many(near, 9, count=3) == {"inventory-a": 3}


def test_a_program_that_is_attached_twice_replaces_itself_and_the_lab_ends_as_ever(lab: km.Lab) -> None:
    n1 = lab.node("n1")
    shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
    coach(TO_PORT_8080 % 8080, attach=n1)
    open_files = len(os.listdir("/proc/self/fd"))

    verdict = coach(TO_PORT_8080 % 7, attach=n1)

    assert verdict.notes == ["learn is attached to n1, in place of the one from before"]
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert shop.connect_many(near, 9, count=1).refused == {"ECONNREFUSED": 1}
    assert str(lab.close()).endswith("left behind: nothing>")


def test_a_cell_that_cannot_be_attached_leaves_what_ran_before(lab: km.Lab) -> None:
    n1 = lab.node("n1")
    shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
    coach(TO_PORT_8080 % 8080, attach=n1)
    # The kernel takes 64 programs at one hook of a cgroup, and two are there.
    too_many = TO_PORT_8080 % 7 + "".join(ACCEPTED.replace("learn", f"learn_{i}") for i in range(62))

    verdict = coach(too_many, attach=n1)

    assert verdict.notes == ["not attached: [Errno 7] bpf_link_create: Argument list too long"]
    assert shop.connect_many(near, 9, count=3) == {"inventory-a": 3}
    replaced = coach(TO_PORT_8080 % 7, attach=n1)
    assert replaced.notes == ["learn is attached to n1, in place of the one from before"]
    assert shop.connect_many(near, 9, count=1).refused == {"ECONNREFUSED": 1}


def test_maps_that_cannot_be_made_are_a_note_too(lab: km.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    n1 = lab.node("n1")

    def no_room(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("kmesh_lab.coach.cell.Module", no_room)

    assert coach(ACCEPTED, attach=n1).notes == ["not attached: [Errno 24] Too many open files"]


def test_nothing_is_attached_to_a_node_of_a_closed_lab() -> None:
    with km.Lab() as lab:
        n1 = lab.node("n1")

    with pytest.raises(km.LabError, match=r"^this lab is closed; make another one with Lab\(\)$"):
        coach(ACCEPTED, attach=n1)


def test_an_attached_program_reads_the_maps_of_the_node(lab: km.Lab) -> None:
    n1 = lab.node("n1")
    shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
    known = "\tstruct frontend_key key = {};\n\tkey.addr.ip4 = ctx->user_ip4;\n"
    known += "\tif (!frontend_lookup(&key))\n\t\treturn 0;\n"

    assert coach(BODY % known, attach=n1)

    assert shop.connect_many(near, count=1) == {"inventory-a": 1}
    assert shop.connect_many("10.244.9.9", 8080, count=1).refused == {"EPERM": 1}


def test_the_place_of_the_nodes_own_sk_msg_program_is_not_taken(lab: km.Lab) -> None:
    n1 = lab.node("n1")

    verdict = coach('SEC("sk_msg")\nint learn(struct sk_msg_md *msg)\n{\n\treturn SK_PASS;\n}\n', attach=n1)

    assert verdict
    assert "km_socket has room for one sk_msg program" in str(verdict)


def test_a_rejected_program_is_not_attached(lab: km.Lab) -> None:
    n1 = lab.node("n1")

    assert coach(cell("return-range"), attach=n1).notes == ()

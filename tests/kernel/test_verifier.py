"""What the verifier refuses, told as a reason and a line of C."""

import errno

import pytest

from kmesh_lab.errors import KernelNotSupported, NotPrivileged, VerifierError
from kmesh_lab.kernel.compiler import compile_c
from kmesh_lab.kernel.verifier import verifier_error

pytestmark = pytest.mark.root

# In the style of our programs, and with the brace where many people put it: bcc adds lines in different places.
STYLES = ("int learn(struct bpf_sock_addr *ctx)\n{", "int learn(struct bpf_sock_addr *ctx) {")

REFUSED = [
    (
        "u32 key = 1;\n\tu64 *value = rows.lookup(&key);\n\n\t*value = 1; /* HERE */\n\treturn 1;",
        "R0 invalid mem access 'map_value_or_null'",
    ),
    ("ctx->family = 3; /* HERE */\n\treturn 1;", "invalid bpf_context access off=28 size=4"),
    ("bpf_redirect(1, 0); /* HERE */\n\treturn 1;", "program of this type cannot use helper bpf_redirect#23"),
]


def refused(source):
    with pytest.raises(VerifierError) as caught:
        compile_c(source.path, {})
    return caught.value


@pytest.mark.parametrize(("body", "reason"), REFUSED)
@pytest.mark.parametrize("head", STYLES)
def test_a_refused_program_is_named_with_the_reason_and_the_line(write, head, body, reason):
    source = write(f"""
SEC("cgroup/connect4")
int before(struct bpf_sock_addr *ctx) {{
	return 1;
}}
BPF_HASH(rows, u32, u64, 4);
SEC("cgroup/connect4")
{head}
	{body}
}}
""")

    error = refused(source)

    lines = len(error.log.strip().splitlines())
    where = f"{source.path}:{source.line('HERE')}"
    assert str(error) == (f"program learn was rejected: {reason} ({where}). The whole log is in .log ({lines} lines).")
    assert error.program == "learn"


def test_the_log_is_whole_from_the_first_state_to_the_last_count(write):
    source = write("""
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	for (u32 i = 0; i < 900000; i++) {
		if (bpf_get_prandom_u32() == i)
			break;
	}
	return 1;
}
""")

    error = refused(source)

    lines = error.log.strip().splitlines()
    assert lines[0].startswith("0: R1=ctx() R10=fp0")
    assert lines[-2] == "The sequence of 8193 jumps is too complex."
    assert lines[-1].startswith("processed ")
    assert len(lines) > 50_000
    assert str(error) == (
        f"program learn was rejected: The sequence of 8193 jumps is too complex ({source.path}:{source.line('== i')}). "
        f"The whole log is in .log ({len(lines)} lines)."
    )


def test_a_loop_without_end_is_called_that_and_not_by_the_states_after_it(write):
    source = write("""
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	while (1)
		bpf_get_prandom_u32();
	return 1;
}
""")

    where = f"{source.path}:{source.line('while')}"
    assert str(refused(source)).startswith(f"program learn was rejected: infinite loop detected at insn 1 ({where})")


def test_a_loop_over_a_variable_on_the_stack_is_called_endless_though_the_log_says_so_behind_the_jump(write):
    source = write("""
SEC("cgroup/connect4")
int learn(struct bpf_sock_addr *ctx)
{
	volatile u32 i;
	for (i = 0; i < 100000000; i++)
		;
	return 1;
}
""")

    assert str(refused(source)).startswith("program learn was rejected: infinite loop detected at insn ")


def test_a_mistake_in_an_included_function_is_found_in_its_file(write, tmp_path, bpf):
    copy = tmp_path / "bpf"
    (copy / "include").mkdir(parents=True)
    for path in [*bpf.glob("*.c"), *bpf.glob("include/*.h")]:
        (copy / path.relative_to(bpf)).write_text(path.read_text())
    sendmsg = (copy / "sendmsg.c").read_text()
    check = "\tif (msg->data + len > msg->data_end)\n\t\treturn NULL;\n"
    assert check in sendmsg
    (copy / "sendmsg.c").write_text(sendmsg.replace(check, ""))

    with pytest.raises(VerifierError) as caught:
        compile_c(copy / "kmesh.c", {})

    number = (
        sendmsg.replace(check, "").splitlines().index("\ttlv->header.length = bpf_htonl(TLV_ORG_DST_ADDR4_LENGTH);")
    )
    assert f"program sendmsg_prog was rejected: R1 offset is outside of the packet (bpf/sendmsg.c:{number + 1})" in str(
        caught.value
    )


# Linux 5.15 to 6.8 print the line of C, but not its number.
OLD_LOG = """\
; int learn(struct bpf_sock_addr *ctx)
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
; u64 *value = rows.lookup(&key);
5: (85) call bpf_map_lookup_elem#1
; *value = 1;
6: (7b) *(u64 *)(r0 +0) = r1
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def test_a_log_without_line_numbers_gives_the_text_of_the_line():
    error = verifier_error("learn", OLD_LOG, errno.EACCES)

    assert str(error) == (
        "program learn was rejected: R0 invalid mem access 'map_value_or_null' (at `*value = 1;`). "
        "The whole log is in .log (8 lines)."
    )


def test_code_that_the_compiler_made_by_itself_has_no_line():
    log = "; return 1; @ learner.c:7\n0: (b7) r0 = 1\n;  @ learner.c:0\n1: (95) exit\nR1 !read_ok\nprocessed 2 insns\n"

    assert "(/home/me/learner.c:7)" in str(verifier_error("learn", log, errno.EACCES, ["/home/me/learner.c"]))


def test_a_file_name_that_two_files_have_stays_as_the_kernel_wrote_it():
    log = "; return 1; @ learner.c:7\n0: (b7) r0 = 1\nR1 !read_ok\nprocessed 2 insns\n"

    assert "(learner.c:7)" in str(verifier_error("learn", log, errno.EACCES, ["/a/learner.c", "/b/learner.c"]))


def test_without_a_log_the_errno_decides():
    refused, unknown = verifier_error("learn", "", errno.EPERM), verifier_error("learn", "", errno.EINVAL)

    assert isinstance(refused, NotPrivileged)
    assert str(refused) == "program learn was not loaded: Operation not permitted; run as root"
    assert isinstance(unknown, KernelNotSupported)
    assert str(unknown) == ("program learn was not loaded: Invalid argument; `kmesh-lab check` says what is missing")

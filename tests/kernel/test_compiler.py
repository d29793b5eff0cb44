"""C of a learner becomes an image, or an error that names the line."""

import os
import sys
from pathlib import Path

import pytest

from kmesh_lab.errors import CompileError, LabError
from kmesh_lab.kernel.compiler import BPF_DIR, compile_c, flatten, hook_of

pytestmark = pytest.mark.root

ACCEPTING = """
SEC("cgroup/connect4")
int accept(struct bpf_sock_addr *ctx)
{
	return 1;
}
"""


def test_includes_are_put_in_once_and_every_line_knows_where_it_is_from(tmp_path):
    (tmp_path / "include").mkdir()
    (tmp_path / "main.c").write_text('#include "include/a.h"\n# include "include/b.h" // b\nint main_c;\n')
    (tmp_path / "include/a.h").write_text("int a;\n")
    (tmp_path / "include/b.h").write_text('#include "a.h"\n#include <stdio.h>\nint f(void)\n{\n\treturn a;\n}\n')

    assert flatten(tmp_path / "main.c").splitlines() == [
        f'#line 1 "{tmp_path}/main.c"',
        f'#line 1 "{tmp_path}/include/a.h"',
        "int a;",
        f'#line 2 "{tmp_path}/main.c"',
        f'#line 1 "{tmp_path}/include/b.h"',
        "",
        "#include <stdio.h>",
        "int f(void)",
        "{",
        f'#line 5 "{tmp_path}/include/b.h"',
        "\treturn a;",
        "}",
        f'#line 3 "{tmp_path}/main.c"',
        "int main_c;",
    ]


def test_a_source_outside_bpf_may_include_ours(tmp_path):
    (tmp_path / "mine.c").write_text(f'#include "{os.path.relpath(BPF_DIR, tmp_path)}/kmesh.c"\n')

    image = compile_c(tmp_path / "mine.c", {})

    assert image.programs.keys() == compile_c(BPF_DIR / "kmesh.c", {}).programs.keys()
    assert f'#line 1 "{BPF_DIR}/include/service.h"' in image.text


@pytest.mark.parametrize("name", ["learner.c", "my C/learner.c", "bpf/include/learner.h"])
def test_what_does_not_compile_is_reported_with_file_and_line_and_the_whole_output(write, tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    source = write("int f(void)\n{\n\treturn unknown; // HERE\n}\nint g = also_unknown;\n", name)

    with pytest.raises(CompileError) as caught:
        compile_c(source.path, {})

    where = name if name.startswith("bpf/") else source.path
    assert str(caught.value) == (
        f"{where}:{source.line('HERE')}: use of undeclared identifier 'unknown'. "
        f"The compiler's whole output is in .log ({len(caught.value.log.splitlines())} lines)."
    )
    assert "use of undeclared identifier 'also_unknown'" in caught.value.log
    assert "2 errors generated." in caught.value.log


def test_an_include_that_is_not_there_is_reported_with_file_and_line(write):
    source = write('int a;\n#include "nowhere.h"\n')

    with pytest.raises(CompileError, match=rf"learner\.c:{source.line('nowhere')}: 'nowhere\.h' file not found\."):
        compile_c(source.path, {})


def test_an_error_in_a_header_names_the_header(write, tmp_path):
    (tmp_path / "mine.h").write_text("\nint broken(\n")

    with pytest.raises(CompileError, match=r"/mine\.h:3: expected|/learner\.c:5: expected"):
        compile_c(write('#include "mine.h"\nint a;\n').path, {})


def test_too_much_on_the_stack_is_an_error_and_not_the_end_of_this_process(write):
    source = write("""
        SEC("cgroup/connect4")
        int big(struct bpf_sock_addr *ctx)
        {
            volatile char buffer[600];

            for (int i = 0; i < 600; i++)
                buffer[i] = i;
            return 1;
        }
        """)

    with pytest.raises(CompileError, match=r"^(\S+:\d+, )?function big: Looks like the BPF stack limit of 512 bytes"):
        compile_c(source.path, {})


@pytest.mark.parametrize("map", ["BPF_HASH(none, u32, u32, 0);", "BPF_RINGBUF_OUTPUT(none, 3);"])
def test_a_map_that_the_kernel_refuses_is_named(write, map):
    with pytest.raises(CompileError, match=r"^the C did not compile: could not open bpf map: none, error: Invalid"):
        compile_c(write(map + ACCEPTING).path, {})


def test_an_unknown_hook_is_named(write):
    with pytest.raises(LabError, match="unknown section 'cgroup/conect4': libbpf has no such hook; cgroup/connect4 is"):
        compile_c(write(ACCEPTING.replace("connect4", "conect4")).path, {})


def test_after_the_mistake_is_corrected_the_same_file_compiles(write):
    with pytest.raises(CompileError):
        compile_c(write(ACCEPTING + "int x = y;\n").path, {})

    assert list(compile_c(write(ACCEPTING).path, {}).programs) == ["accept"]


def test_compiling_leaves_this_process_as_it_was(write, capfd, descriptors):
    folder, before = os.getcwd(), descriptors()

    compile_c(write(ACCEPTING + "int unused_here;\n").path, {})
    with pytest.raises(CompileError):
        compile_c(write("int x = y;\n").path, {})

    assert (os.getcwd(), descriptors()) == (folder, before)
    assert capfd.readouterr() == ("", "")


def test_the_same_text_is_compiled_once_and_other_switches_make_another_image(write):
    source = write("BPF_HASH(rows, u32, u32, ROWS);" + ACCEPTING).path

    four, again, five = compile_c(source, {"ROWS": 4}), compile_c(source, {"ROWS": 4}), compile_c(source, {"ROWS": 5})

    assert four is again
    assert [image.maps["rows"].max_entries for image in (four, five)] == [4, 5]


def test_programs_are_what_has_a_section_and_is_not_switched_off(write):
    source = write("""
        SEC("cgroup/connect4") int on_one_line(struct bpf_sock_addr *ctx) { return 1; }
        SEC("cgroup/connect6")
        int with_brace(struct bpf_sock_addr *ctx) {
            return 1;
        }
        #if 0
        SEC("cgroup/connect4")
        int off(struct bpf_sock_addr *ctx)
        {
            return 1;
        }
        #endif
        static __always_inline int helper(void)
        {
            return 1;
        }
        """)

    programs = compile_c(source.path, {}).programs

    assert {name: program.section for name, program in programs.items()} == {
        "on_one_line": "cgroup/connect4",
        "with_brace": "cgroup/connect6",
    }


def test_the_instructions_say_where_the_descriptor_of_each_map_belongs(write):
    source = write("""
        BPF_HASH(first, u32, u64, 4);
        BPF_HASH(second, u32, u64, 4);
        SEC("cgroup/connect4")
        int both(struct bpf_sock_addr *ctx)
        {
            u32 key = 1;

            return first.lookup(&key) && second.lookup(&key);
        }
        """)

    program = compile_c(source.path, {}).programs["both"]

    assert list(program.maps.values()) == ["first", "second"]
    for at in program.maps:
        assert program.instructions[at - 4] == 0x18  # BPF_LD | BPF_IMM | BPF_DW
        assert program.instructions[at - 3] >> 4 == 1  # BPF_PSEUDO_MAP_FD


def test_a_row_may_have_fields_of_any_kind(write):
    source = write(
        """
        struct row {
            char text[16];
            bool yes;
            u32 numbers[3];
            struct {
                u32 a;
                u16 b;
            } pairs[2];
            s64 below_zero;
        };
        BPF_HASH(rows, u32, struct row, 4);
        """
        + ACCEPTING
    )

    spec = compile_c(source.path, {}).maps["rows"]
    packed = spec.value.pack(text=b"abc", yes=True, numbers=(1, 2), pairs=b"\x07", below_zero=-8)

    assert spec.value.size == spec.value_size == 56
    assert packed == (
        b"abc".ljust(16, b"\0")
        + b"\x01\0\0\0"
        + bytes.fromhex("010000000200000000000000")
        + b"\x07".ljust(16, b"\0")
        + b"\xf8\xff\xff\xff\xff\xff\xff\xff"
    )
    assert spec.value.unpack(packed)["below_zero"] == -8


def test_a_row_that_bcc_describes_wrongly_is_raw_bytes(write):
    source = write("struct row { u32 grid[2][3]; };\nBPF_HASH(rows, u32, struct row, 4);\n" + ACCEPTING)

    spec = compile_c(source.path, {}).maps["rows"]

    assert (spec.value.size, spec.value.fields) == (spec.value_size, [("", 0)]) == (24, [("", 0)])


# BPF_PROG_TYPE_* and BPF_* of linux/bpf.h, for every hook that Kmesh has.
@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("cgroup/connect4", (18, 10)),
        ("cgroup/connect6", (18, 11)),
        ("cgroup/sendmsg4", (18, 14)),
        ("cgroup/recvmsg4", (18, 19)),
        ("sockops", (13, 3)),
        ("sk_msg", (16, 7)),
        ("cgroup_skb/ingress", (8, 0)),
        ("cgroup_skb/egress", (8, 1)),
    ],
)
def test_a_section_names_the_program_type_and_the_attach_type(section, expected):
    assert hook_of(section) == expected


def test_without_bcc_the_error_names_the_package(write, tmp_path, monkeypatch):
    (tmp_path / "python").write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -I -S "$@"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(LabError, match="Python cannot import bcc: install Debian's package python3-bpfcc"):
        compile_c(write(ACCEPTING + "int never_seen_before;\n").path, {})


def test_compiling_leaves_the_mounts_of_this_machine_as_they_are(write):
    source = write(ACCEPTING.replace("int accept", f"int accept_{os.getpid()}"))  # never compiled before
    before = Path("/proc/self/mountinfo").read_text()

    compile_c(source.path, {})

    assert Path("/proc/self/mountinfo").read_text() == before
    assert len(Path("/proc/kallsyms").read_text().splitlines()) > 1000


def test_c_that_is_not_utf_8_is_named_with_its_line(tmp_path):
    source = tmp_path / "mine.c"
    source.write_bytes("/* one line, and then */\n/* 节点 */\n".encode("gbk"))

    with pytest.raises(CompileError, match=r"mine\.c:2: not UTF-8; save the file as UTF-8$"):
        flatten(source)

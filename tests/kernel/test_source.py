"""The C that was compiled, cut out for showing."""

import pytest

from kmesh_lab.errors import LabError
from kmesh_lab.kernel.source import enclosing_function, find_source, function_source, short_path

TEXT = """\
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "other.h"

#define TWICE(x) \\
	((x) * 2)

/* what a row holds */
struct row {
	int a;
};

static int table[] = { 1, 2 };

static int declared(int a);

/*
 * Adds one.
 */
static __always_inline int add(int a)
{
	return a + 1;
}

SEC("cgroup/connect4")
int program(struct bpf_sock_addr *ctx)
{
	struct row row = { 1 };

	return add(row.a);
}

LICENSE("Dual BSD/GPL");
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf/learner.c").write_text(TEXT)
    return tmp_path / "bpf/learner.c"


def test_a_function_comes_with_the_comment_above_it(path):
    source = function_source(path, "add")

    assert source.text == ("/*\n * Adds one.\n */\nstatic __always_inline int add(int a)\n{\n\treturn a + 1;\n}")
    assert source.first_line == 16
    assert repr(source) == "<Source learner.c lines 16–22>"
    assert source.text.splitlines() == TEXT.splitlines()[15:22]


def test_a_program_comes_with_its_section(path):
    assert function_source(path, "program").text.splitlines() == TEXT.splitlines()[23:30]


@pytest.mark.parametrize("name", ["row", "struct row"])
def test_a_struct_is_found_with_and_without_the_word(path, name):
    assert function_source(path, name).text == "/* what a row holds */\nstruct row {\n\tint a;\n};"


def test_the_whole_file_starts_at_line_1(path):
    source = function_source(path, None)

    assert (str(source) + "\n", source.first_line) == (TEXT, 1)


def test_an_unknown_function_is_refused_with_the_names_of_those_there(path):
    with pytest.raises(LabError, match=r"^no function 'sub' in learner\.c: it has struct row, add, program$"):
        function_source(path, "sub")


def test_a_function_that_does_not_end_is_shown_to_the_end_of_the_file(tmp_path):
    (tmp_path / "cut.c").write_text("static int cut(void)\n{\n\treturn 1;\n")

    assert function_source(tmp_path / "cut.c", "cut").text == "static int cut(void)\n{\n\treturn 1;"


@pytest.mark.parametrize(("line", "name"), [(1, ""), (9, "struct row"), (21, "add"), (28, "program"), (30, "program")])
def test_a_line_is_inside_a_function(path, line, name):
    assert enclosing_function(path, line) == name


def test_in_a_notebook_the_file_and_the_lines_stand_above_the_c(path):
    assert function_source(path, "row")._repr_markdown_() == (
        "`bpf/learner.c`, lines 7 to 10\n\n```c\n/* what a row holds */\nstruct row {\n\tint a;\n};\n```"
    )


def test_files_are_found_in_bpf_and_in_its_include_folder(bpf):
    assert find_source(bpf, "sockops.c") == bpf / "sockops.c"
    assert find_source(bpf, "service.h") == bpf / "include/service.h"
    with pytest.raises(
        LabError, match=r"^no C file 'servce\.h' in bpf/: there are backend\.h, .*cgroup_skb\.c, .*trace\.h"
    ):
        find_source(bpf, "servce.h")


def test_every_function_of_our_c_can_be_cut_out(bpf):
    functions = {"service.h": "lb_locality_failover_handle", "tlv.h": "tlv_org_dst4", "trace.h": "enum kl_step_kind"}

    for file, name in functions.items():
        text = function_source(find_source(bpf, file), name).text
        assert text.count("{") == text.count("}") >= 1
        assert name in text


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/home/me/lab/bpf/include/service.h", "bpf/include/service.h"),
        ("/home/bpf/lab/bpf/sendmsg.c", "bpf/sendmsg.c"),
        ("/tmp/learner.c", "/tmp/learner.c"),
    ],
)
def test_a_path_is_shown_without_the_folders_above_bpf(path, short):
    assert short_path(path) == short

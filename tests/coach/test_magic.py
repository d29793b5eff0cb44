"""``%%bpf`` in a shell of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import kmesh_lab as km

pytestmark = pytest.mark.root

REFUSED = 'SEC("cgroup/connect4")\nint learn(struct bpf_sock_addr *ctx)\n{\n\treturn 2;\n}\n'


@pytest.fixture
def shell() -> Iterator[Any]:
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "kmesh_lab.coach")
    yield shell
    InteractiveShell.clear_instance()


def test_a_cell_of_c_is_answered_with_a_verdict(shell: Any) -> None:
    verdict = shell.run_cell_magic("bpf", "", REFUSED)

    assert verdict.rule == "return-range"
    assert verdict.source == "return 2;"
    assert verdict.advice.line == 5, "as the editor counts: %%bpf is line 1"


def test_attach_takes_the_name_of_a_node(shell: Any) -> None:
    with km.Lab() as lab:
        shell.user_ns["n1"] = lab.node("n1")

        verdict = shell.run_cell_magic("bpf", "--attach n1", REFUSED.replace("2", "1"))

    assert verdict.notes == ["learn is attached to n1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [("--atach n1", "does not know '--atach n1'"), ("--attach n9", "'n9' is not defined"), ("x y z", "does not know")],
)
def test_a_wrong_line_is_told_how_to_write_it(shell: Any, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        shell.run_cell_magic("bpf", line, REFUSED)

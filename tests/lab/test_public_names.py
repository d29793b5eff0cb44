"""What ``import kmesh_lab as km`` offers, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types

import pytest

import kmesh_lab as km
from kmesh_lab.kernel.compiler import BPF_DIR
from tests.lab.outside import run_as_nobody

IMPORT_WITHOUT_BCC = """
import sys
sys.modules["bcc"] = None
import kmesh_lab
print(kmesh_lab.Service("inventory", "10.96.0.10", [80]))
"""


def test_the_public_names_are_sorted_few_and_all_there_is_to_see() -> None:
    visible = [name for name, value in vars(km).items() if not (name[0] == "_" or isinstance(value, types.ModuleType))]

    assert km.__all__ == sorted(visible)
    assert len(km.__all__) <= 22


def test_every_public_name_and_every_public_method_has_a_docstring() -> None:
    for name in km.__all__:
        thing = getattr(km, name)
        assert inspect.getdoc(thing), name
        for method, value in inspect.getmembers(thing) if inspect.isclass(thing) else ():
            if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{method}"


@pytest.mark.root
def test_importing_needs_neither_root_nor_bcc() -> None:
    assert run_as_nobody(IMPORT_WITHOUT_BCC) == "<Service inventory.default 10.96.0.10 80→80 RANDOM>\n"


def test_importing_is_silent_and_says_here_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    code = "import time; t = time.perf_counter(); import kmesh_lab; print(f'{1000 * (time.perf_counter() - t):.0f}')"
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        times.append(int(done.stdout))
    with capsys.disabled():
        print(f" [import kmesh_lab: {min(times)} ms] ", end="")


def test_source_returns_the_c_that_was_compiled() -> None:
    lines = (BPF_DIR / "include/service.h").read_text().splitlines()

    source = km.source("service.h", "lb_locality_failover_handle")

    first = source.first_line - 1
    assert source.text.splitlines() == lines[first : first + len(source.text.splitlines())]
    assert "lb_locality_failover_handle(" in source.text
    assert source.text.endswith("}")
    assert repr(source) == f"<Source service.h lines {first + 1}–{first + len(source.text.splitlines())}>"
    assert source._repr_markdown_().endswith(f"```c\n{source.text}\n```")


def test_source_without_a_function_returns_the_whole_file() -> None:
    assert str(km.source("kmesh.c")) == (BPF_DIR / "kmesh.c").read_text().rstrip("\n")


@pytest.mark.root
def test_the_text_that_source_shows_is_in_the_text_that_the_kernel_got(open_all_day) -> None:
    compiled = "\n".join(
        line for line in open_all_day.n1.datapath.module.text.splitlines() if not line.startswith("#line")
    )

    for file, function in (("service.h", "lb_locality_failover_handle"), ("sendmsg.c", "sendmsg_prog")):
        assert km.source(file, function).text in compiled


def test_an_unknown_file_or_function_is_refused_with_those_there_are(refused) -> None:
    with pytest.raises(km.LabError, match=r"^no C file 'servise\.h' in bpf/: there are backend\.h, .*service\.h"):
        km.source("servise.h")
    with pytest.raises(km.LabError, match=r"^no function 'lb' in service\.h: it has .*lb_locality_failover_handle"):
        km.source("service.h", "lb")

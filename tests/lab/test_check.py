"""km.check(): can this machine run a lab?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from IPython.lib.pretty import pretty

import kmesh_lab as km
from kmesh_lab.kernel import cache, compiler, features
from kmesh_lab.kernel.platform import WSL2
from kmesh_lab.lab import machine
from kmesh_lab.lab.machine import PROGRAMS, Check
from tests.lab.outside import Machine, run_as_nobody

pytestmark = pytest.mark.root


@pytest.fixture
def without(monkeypatch):
    """Take features away: their probes say that they are absent."""

    def take_away(*names: str, how: str = "loading an empty one") -> None:
        changed = [
            replace(feature, attempt=lambda: (False, how)) if feature.name in names else feature
            for feature in features.FEATURES
        ]
        monkeypatch.setattr(features, "FEATURES", tuple(changed))

    return take_away


def test_check_is_true_where_a_lab_can_run_and_shows_every_feature() -> None:
    check = km.check()

    assert check
    assert check.missing == []
    assert repr(check) == f"<Check: a lab can run here, all {len(features.FEATURES) + 1} features are present>"
    assert check.rows()[0] == ("root privileges", "yes", "this process has CAP_NET_ADMIN and CAP_SYS_ADMIN", "")
    assert [name for name, *_ in check.rows()] == [feature.name for feature in [*features.FEATURES, PROGRAMS]]
    assert check.rows()[-1] == ("the lab's programs", "yes", "compiling them; the verifier takes each", "")


def test_check_shows_itself_as_a_table_in_a_notebook_and_in_a_terminal() -> None:
    check = km.check()

    html = check._repr_html_()
    assert html.startswith("<table><caption>Check: a lab can run here")
    assert "<tr><th>feature</th><th>here</th><th>how it was probed</th><th>what to do</th></tr>" in html
    assert "<tr><th>ringbuf maps</th><td>yes</td><td>making an empty one</td><td></td></tr>" in html
    lines = pretty(check).splitlines()
    assert lines[0] == repr(check)
    assert lines[1].split("  ")[0] == "feature"
    assert len(lines) == 3 + len(features.FEATURES)


def test_check_is_false_without_something_that_every_notebook_needs_and_says_what_to_do(without) -> None:
    without("ringbuf maps")

    check = km.check()

    assert not check
    assert repr(check) == "<Check: no lab can run here, missing: ringbuf maps>"
    remedy = "use Linux 5.8 or newer with CONFIG_BPF_SYSCALL (for every notebook)"
    assert ("ringbuf maps", "NO", "loading an empty one", remedy) in check.rows()


def test_check_is_true_without_something_that_only_some_notebooks_need(without) -> None:
    without("packet sockets")

    check = km.check()

    assert check
    assert repr(check) == "<Check: a lab can run here, missing: packet sockets>"
    assert ("packet sockets", "use a kernel with CONFIG_PACKET (for 04, 05, 06)") in [
        (row[0], row[3]) for row in check.rows()
    ]


def test_check_is_false_where_the_verifier_refuses_a_program_of_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kmesh.c").write_text(
        '#define SEC(name)\nSEC("cgroup/connect4")\nint refused(struct bpf_sock_addr *ctx)\n{\n\treturn 2;\n}\n'
    )
    monkeypatch.setattr(machine, "BPF_DIR", tmp_path)

    check = km.check()

    assert not check
    assert repr(check) == "<Check: no lab can run here, missing: the lab's programs>"
    name, here, how, remedy = check.rows()[-1]
    assert (name, here) == ("the lab's programs", "NO")
    assert "program refused was rejected" in how
    assert "kmesh_lab.Lab()" in remedy


def test_the_first_lab_after_a_check_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")
    compiler._compile.cache_clear()  # as in a new process on a new machine
    km.check()
    monkeypatch.setattr(compiler, "_run_bcc", lambda *_: pytest.fail("it was compiled again"))

    with km.Lab() as lab:
        lab.node("n1")


def test_what_to_do_depends_on_the_platform(without) -> None:
    assert km.check().advice() == []
    without("packet sockets")

    check = Check(features.probe_all(), WSL2)

    assert check.advice() == ["This is WSL2.", *WSL2.advice]
    assert pretty(check).splitlines()[-4:] == check.advice()
    assert check._repr_html_().endswith(f"<p>{'<br>'.join(check.advice())}</p>")


def test_without_any_lab_the_notebooks_can_still_be_read(without) -> None:
    without("bcc")

    assert Check(features.probe_all(), WSL2).advice()[-1].startswith("The notebooks can be read without a lab")


def test_what_a_probe_says_is_escaped(without) -> None:
    without("bcc", how="<img src=x onerror=alert(1)>")

    html = km.check()._repr_html_()

    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_check_tells_a_user_without_privileges_to_become_root() -> None:
    printed = run_as_nobody(
        "import kmesh_lab; check = kmesh_lab.check(); print(bool(check)); print(*check.rows()[0], sep=', ')"
    )

    lacking = "NO, user 65534 lacks CAP_NET_ADMIN and CAP_SYS_ADMIN"
    assert printed.startswith(f"False\nroot privileges, {lacking}, run as root;")


def test_check_leaves_nothing_behind() -> None:
    machine = Machine()

    km.check()

    assert machine.left(10) == []

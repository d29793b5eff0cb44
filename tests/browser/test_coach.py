"""The verdict on a cell of C, as a learner sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from .conftest import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.root, pytest.mark.timeout(300)]

REFUSED = """%%bpf
BPF_HASH(connects, u32, u64, 64);

SEC("cgroup/connect4")
int count_connects(struct bpf_sock_addr *ctx)
{
	u32 address = ctx->user_ip4;
	u64 *count = connects.lookup(&address);

	*count += 1;
	return 1;
}
"""


def test_the_verdict_is_read_in_both_themes_and_the_log_is_folded_until_asked_for(
    open_cells: Callable[[Sequence[str]], Notebook],
) -> None:
    notebook = open_cells(["%load_ext kmesh_lab.coach", REFUSED])
    notebook.run_all()

    verdict = notebook.page.locator(".jp-OutputArea-output").last
    said = verdict.inner_text()
    assert "rejected: program count_connects, line 10" in said
    assert "*count += 1;" in said
    assert "if (!count)" in said
    assert not verdict.locator("details pre").is_visible()
    notebook.pictures(verdict, "verifier-coach")

    verdict.locator("summary").focus()
    notebook.page.keyboard.press("Enter")
    verdict.locator("details pre").wait_for(state="visible")
    assert "invalid mem access 'map_value_or_null'" in verdict.locator("details pre").inner_text()
    notebook.screenshot("verifier-coach-log")
    assert (notebook.outside, notebook.errors) == ([], [])

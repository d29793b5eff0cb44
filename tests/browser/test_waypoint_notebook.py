"""Notebook 04 as a reader uses it: it runs, its widgets answer, and an answer of one's own is marked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .conftest import Notebook

pytestmark = [pytest.mark.root, pytest.mark.browser, pytest.mark.timeout(300)]


def test_the_sixteen_bytes_are_predicted_captured_walked_to_changed_and_marked(
    open_notebook: Callable[[str], Notebook],
) -> None:
    notebook = open_notebook("04-waypoint-and-tlv")
    page = notebook.page
    page.set_viewport_size({"width": 1280, "height": 1400})
    notebook.run_all(90)

    asked = page.locator(".kl-predict").filter(has_text="How many bytes reach the waypoint")
    expect(asked.get_by_role("table")).to_have_count(0)
    asked.get_by_label("29, in one").check()
    asked.get_by_role("button", name="Commit the prediction").click()
    expect(asked.get_by_role("status")).to_contain_text("29, in two")
    wire = asked.get_by_role("table")
    expect(wire.get_by_role("row").filter(has_text="segments[0]")).to_contain_text("KmeshTLV 10.96.0.10 port 80")
    expect(wire.get_by_role("row").filter(has_text="segments[1]")).to_contain_text("GET /stock/42")
    notebook.pictures(asked, "04-wire")
    assert "left behind" in notebook.text()

    path = page.locator(".kl-dp")
    path.get_by_role("button", name="Last step").click()
    expect(path).to_contain_text("16 bytes in front of the payload: 10.96.0.10:80")
    expect(path).to_contain_text("sendmsg.c")

    tlv = page.locator(".kl-tlv").first
    tlv.get_by_role("gridcell", name="byte 10:").click()
    page.keyboard.type("51")
    expect(tlv.get_by_role("status")).to_contain_text("the client asked for 10.96.0.10:81")

    changed = page.locator(".jp-CodeCell").filter(has_text='km.exercise("04.2")')
    source = "01 00000012 fd00 0010 0096 0000 0000 0000 0000 0020 1f91 fe 00000000"
    changed.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.type(f'km.exercise("04.2").check(bytes.fromhex("{source}") + b"GET /stock/42")')
    page.keyboard.press("Control+Enter")
    expect(changed.locator(".jp-OutputArea")).to_contain_text("✓ 04.2 change: right.", timeout=30_000)
    assert (notebook.outside, notebook.errors) == ([], [])

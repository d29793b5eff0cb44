"""The slides, in a browser: every output waits for a key, so that a room can guess first."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from docs.export.export import export

pytestmark = pytest.mark.browser


def test_keys_show_an_output_first_and_then_the_next_slide(chromium: BrowserContext, tmp_path: Path) -> None:
    [deck] = [path for path in export(tmp_path) if path.name.startswith("01") and path.name.endswith(".slides.html")]
    page = chromium.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(f"{deck.as_uri()}#2")
    answer = page.locator(".now .jp-Cell-outputWrapper").first
    assert page.locator(".where").inner_text().startswith("2 of ")
    assert not answer.is_visible()
    page.keyboard.press("ArrowRight")
    assert answer.is_visible()
    page.keyboard.press("ArrowRight")
    assert page.locator(".where").inner_text().startswith("3 of ")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".now .jp-Cell-outputWrapper").first.is_visible()  # back is never a guess again
    page.close()
    assert problems == []

"""The slides, in a browser: every output waits for a key, so that a room can guess first, and one key shows all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import BrowserContext, Page

from docs.export.export import export

pytestmark = pytest.mark.browser

STATE = """() => {
    const all = selector => [...document.querySelectorAll(`.now :is(${selector})`)];
    return {
        slide: document.querySelector(".where").innerText.split(" of ")[0],
        waits: all(".later, .jp-Cell-outputWrapper details:not([open])").length,
        bottom: Math.max(...all(".jp-Cell").map(cell => cell.getBoundingClientRect().bottom)),
        scrolled: scrollY,
        cut: all("pre, table, img").filter(each => each.getBoundingClientRect().right > innerWidth ||
                                                   each.scrollWidth > each.clientWidth + 1).length,
        asserts: all("pre").filter(each => each.innerText.includes("assert ")).length,
    };
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of each deck by the number of its notebook."""
    written = export(tmp_path_factory.mktemp("html"))
    return {path.name[:2]: path.as_uri() for path in written if path.name.endswith(".slides.html")}


@pytest.fixture
def page(chromium: BrowserContext) -> Iterator[Page]:
    """A page as large as most projectors show; nothing may go wrong on it, or be asked of a network."""
    page = chromium.new_page()
    page.set_viewport_size({"width": 1280, "height": 720})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    yield page
    page.close()
    assert problems == []


def test_keys_show_an_output_then_what_it_has_folded_and_then_the_next_slide(page: Page, decks: dict[str, str]) -> None:
    page.goto(f"{decks['01']}#2")
    where, answer = page.locator(".where"), page.locator(".now .jp-Cell-outputWrapper").first
    assert where.inner_text().startswith("2 of ")
    assert not answer.is_visible()
    page.keyboard.press("ArrowRight")
    assert answer.get_by_text("Predict:").is_visible()
    assert not answer.get_by_text("Observed:").is_visible()
    page.keyboard.press("ArrowRight")
    assert answer.get_by_text("Observed:").is_visible()
    page.keyboard.press("ArrowRight")
    assert where.inner_text().startswith("3 of ")
    page.keyboard.press("ArrowLeft")
    assert answer.get_by_text("Observed:").is_visible()  # back is never a guess again
    page.goto(f"{decks['01']}#3")
    page.goto(f"{decks['01']}#2")
    assert not answer.get_by_text("Predict:").is_visible()


@pytest.mark.parametrize("deck", ["01", "03"])
def test_one_key_shows_every_line_of_a_deck_before_it_goes_on(page: Page, decks: dict[str, str], deck: str) -> None:
    page.goto(decks[deck])
    states = [page.evaluate(STATE)]
    while len(states) < 200:
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)  # scrolling is told a frame later
        states.append(page.evaluate(STATE))
        if states[-1] == states[-2]:
            break
    ends = [state for state, following in pairwise(states) if state["slide"] != following["slide"]]

    assert len(ends) > 10
    assert [state for state in [*ends, states[-1]] if state["waits"] or state["bottom"] > 720] == []
    assert any(state["scrolled"] for state in ends)
    assert [state for state in states if state["cut"]] == []
    assert [state for state in states if state["asserts"]] == []  # they would tell the answer

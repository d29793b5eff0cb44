"""The notebooks as a reader opens them: in JupyterLab, in a browser, without a network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .conftest import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_the_first_notebook_runs_in_the_browser_and_shows_the_shop(open_notebook: Callable[[str], Notebook]) -> None:
    notebook = open_notebook("00-start-here")
    notebook.run_all()
    assert "inventory-a: item 42: 7 in stock" in notebook.text()
    assert "left behind" in notebook.text()
    expect(notebook.page.locator(".kl-topology .kl-state")).to_contain_text("The lab is closed")
    assert notebook.page.locator(".jp-OutputArea-output svg, .jp-OutputArea-output img[src*='svg']").count() >= 2
    notebook.page.locator("svg[aria-label*='asked for'], img[src*='svg']").last.scroll_into_view_if_needed()
    notebook.screenshot("00-start-here")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_one_connect_shows_the_decision_and_the_c_that_made_it(open_notebook: Callable[[str], Notebook]) -> None:
    notebook = open_notebook("01-one-connect")
    notebook.run_all()
    assert "service port becomes 10.244.1.2:8080" in notebook.text()
    assert "int cgroup_connect4_prog(struct bpf_sock_addr *ctx)" in notebook.text()
    assert notebook.page.locator(".jp-OutputArea-output pre .tok-keyword, .jp-RenderedMarkdown pre span").count() > 10
    notebook.page.get_by_text("service port becomes").first.scroll_into_view_if_needed()
    notebook.screenshot("01-one-connect")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_jupyterlab_does_not_ask_whether_it_may_fetch_news(open_notebook: Callable[[str], Notebook]) -> None:
    page = open_notebook("00-start-here").page
    default = page.evaluate("""async () => {
        const settings = window.jupyterapp.serviceManager.settings;
        const {schema} = await settings.fetch("@jupyterlab/apputils-extension:notification");
        return schema.properties.fetchNews.default;
    }""")
    assert default == "false", "any other value is a question over the first cells"


@pytest.mark.parametrize(
    ("name", "view"), [("02-the-mesh-is-four-maps", ".kl-maps"), ("03-locality-load-balancing", ".kl-locality")]
)
def test_a_notebook_with_a_live_view_runs_to_its_end_and_the_view_says_so(
    open_notebook: Callable[[str], Notebook], name: str, view: str
) -> None:
    notebook = open_notebook(name)
    notebook.run_all(120)
    assert "left behind" in notebook.text(), "the receipt of lab.close(), in the last cell"
    expect(notebook.page.locator(f"{view} .kl-state").last).to_contain_text("The lab is closed")
    notebook.page.locator(view).scroll_into_view_if_needed()
    notebook.screenshot(name)
    assert (notebook.outside, notebook.errors) == ([], [])

"""A real JupyterLab and Debian's Chromium, for what is measured in the page; tests/browser uses the same."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import BrowserContext, Error, Locator, Page, Request, ViewportSize, sync_playwright

from benchmarks import CHROMIUM

__all__ = ["REPOSITORY", "Notebook", "Server", "chromium", "jupyterlab", "notebook_of"]

REPOSITORY = Path(__file__).parents[1]
SCREENSHOTS = REPOSITORY / "build" / "screenshots"
KEEP_SCREENSHOTS = "SCREENSHOTS" in os.environ  # they take a minute: JupyterLab changes its theme for each
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # a notebook works without a network
]
VIEWPORT = ViewportSize(width=1280, height=1000)
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"doNotDisturbMode": True},
    "@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
}


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: its folder, and how to reach it."""

    folder: Path
    url: str
    token: str

    def open(self, context: BrowserContext, name: str, content: dict[str, Any]) -> Notebook:
        """A notebook, written under a name of its own, in the one page of JupyterLab, with its kernel ready."""
        copy = self.folder / "notebooks" / f"{name}-{secrets.token_hex(3)}.ipynb"
        copy.write_text(json.dumps(content))
        page = next((page for page in context.pages if page.url.startswith(self.url)), None) or context.new_page()
        try:
            page.set_viewport_size(VIEWPORT)
            notebook = Notebook(page)
            if not page.url.startswith(self.url):  # loading JupyterLab takes longer than most of what is done there
                # A workspace of its own: the shared one opens what an earlier page has left open.
                page.goto(f"{self.url}lab/workspaces/{secrets.token_hex(3)}?token={self.token}")
                page.wait_for_selector(".jp-Launcher", timeout=60_000)
            page.evaluate(_OPEN, f"notebooks/{copy.name}")
            page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
            page.wait_for_function(
                "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
                timeout=60_000,
            )
        except BaseException:
            page.close()  # the next notebook finds a page without half of this one
            raise
        return notebook


@contextmanager
def jupyterlab(home: Path) -> Iterator[Server]:
    """JupyterLab on 127.0.0.1 over a copy of the notebooks, with a configuration of its own in ``home``."""
    folder = home / "work"
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks")
    for name, values in SETTINGS.items():
        target = home / "settings" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(values))
    page = home / "config" / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True)
    page.write_text(json.dumps({"buildCheck": False}))  # where there is node, each page would start it: a second of CPU
    token = secrets.token_hex(16)
    own = {f"JUPYTER_{part}_DIR": str(home / part.lower()) for part in ("CONFIG", "DATA", "RUNTIME")}
    lab = {f"JUPYTERLAB_{part}_DIR": str(home / part.lower()) for part in ("SETTINGS", "WORKSPACES")}
    ours = {
        "JUPYTER_CONFIG_PATH": str(REPOSITORY / "deploy" / "jupyterlab"),
        "XDG_DATA_HOME": str(home / "share"),  # weak spots found here are not those of who runs this
    }
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ip=127.0.0.1", "--port=0"]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={folder}", "--expose-app-in-browser"],
            env={**os.environ, **own, **lab, **ours, "JUPYTER_TOKEN": token, "PYTHONPATH": str(REPOSITORY)},
            stdout=log,
            stderr=log,
        )
    try:
        yield Server(folder, _address(home / "runtime", process), token)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _address(runtime: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that the server wrote down, once it answers."""
    for _ in range(300):
        assert process.poll() is None, "JupyterLab ended before it was ready"
        for info in runtime.glob("jpserver-*.json"):
            server = json.loads(info.read_text())
            try:
                urllib.request.urlopen(f"{server['url']}api?token={server['token']}", timeout=1)
            except OSError:
                continue
            return str(server["url"])
        time.sleep(0.1)
    raise AssertionError("JupyterLab did not answer within 30 s")


@contextmanager
def chromium(profile: Path) -> Iterator[BrowserContext]:
    """Debian's Chromium, headless."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=FLAGS, viewport=VIEWPORT
        )
        yield context
        context.close()


def notebook_of(cells: Sequence[str]) -> dict[str, Any]:
    """A notebook of these code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return dict(notebook)


@dataclass
class Notebook:
    """A notebook open in JupyterLab; ``outside`` and ``errors`` collect what should not happen."""

    page: Page
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", self._note_error)
        self.page.on("request", self._note_request)

    def run_all(self, seconds: float = 60) -> None:
        """Run every cell and wait until the last one has its number and none is running."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(_FINISHED, timeout=seconds * 1000)

    def text(self) -> str:
        """All outputs of the notebook as the reader sees them."""
        return "\n".join(self.page.locator(".jp-Notebook .jp-OutputArea-output").all_inner_texts())

    def screenshot(self, name: str) -> None:
        """Keep a picture of the page, if whoever runs this has set SCREENSHOTS."""
        if KEEP_SCREENSHOTS:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(SCREENSHOTS / f"{name}.png"))

    def ask(self, code: str) -> str:
        """What ``str(code)`` is in the notebook's kernel."""
        return str(self.page.evaluate(_ASK, code))

    def themes(self) -> Iterator[str]:
        """Change to "Dark" and then to "Light", which stays; each is there when it is yielded."""
        for theme in ("Dark", "Light"):
            self.page.evaluate(
                "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme: `JupyterLab ${theme}`})",
                theme,
            )
            light = str(theme == "Light").lower()
            self.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")
            self.page.wait_for_timeout(700)  # the style sheet, and the transitions
            yield theme

    def pictures(self, shown: Locator, name: str) -> None:
        """Keep a picture of one part of the page in both themes, if whoever runs this has set SCREENSHOTS."""
        if KEEP_SCREENSHOTS:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            for theme in self.themes():
                shown.screenshot(path=str(SCREENSHOTS / f"{name}-{theme.lower()}.png"))

    def close(self) -> None:
        """End the kernel and close the notebook; the page stays for the next one unless something is wrong with it."""
        self.page.evaluate(_CLOSE)
        self.page.remove_listener("pageerror", self._note_error)
        self.page.remove_listener("request", self._note_request)
        if self.errors or self.page.locator(".jp-Dialog").count():
            self.page.close()

    def _note_error(self, error: Error) -> None:
        self.errors.append(str(error))

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            self.outside.append(request.url)


_OPEN = """async (path) => {
    const widget = await window.jupyterapp.commands.execute('docmanager:open', {path});
    await widget.context.ready;
}"""

_CLOSE = """async () => {
    const widget = window.jupyterapp.shell.currentWidget;
    await widget?.sessionContext?.shutdown();
    widget?.dispose();
}"""

_ASK = """async (code) => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({code: "", user_expressions: {it: `str((${code}))`}});
    const it = (await future.done).content.user_expressions.it;
    return it.data ? it.data["text/plain"].slice(1, -1) : `${it.ename}: ${it.evalue}`;
}"""

_FINISHED = """() => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const cells = notebook.widgets.filter(cell => cell.model.type === 'code').map(cell => cell.model.sharedModel);
    const failed = cells.some(cell => cell.outputs.some(output => output.output_type === 'error'));
    const busy = document.querySelector('.jp-Notebook .jp-InputPrompt')?.innerText.includes('*');
    return failed || (cells.every(cell => cell.executionState !== 'running' && cell.execution_count) && !busy);
}"""

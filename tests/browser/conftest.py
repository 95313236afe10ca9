"""Debian's Chromium in front of a real JupyterLab, whose vGPU kernels start the embedded daemon on the software GPU.

`TFUSION_PICTURES=1` (make pictures) makes the pictures of the documents as well; a normal run leaves the tree as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from jupyter_tfusion.kernelspec import install_kernelspec

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "images" if os.environ.get("TFUSION_PICTURES") else None
NO_CHROMIUM = (
    "There is no Chromium, so nothing was seen of the JupyterLab extension. "
    "On Debian: apt-get install chromium. On Ubuntu: snap install chromium."
)
TIMEOUT_MS = 120_000
"""For a machine that is busy with other tests; what is waited for comes as soon as it can."""

# 768 MiB that are promised four times, so that two large kernels that work have to take turns.
DAEMON = """
c.TFusionServer.device = "software"
c.TFusionServer.memory = "768MiB"
c.TFusionServer.oversubscription = 4.0
"""
KERNEL_IS_IDLE = """() => {
  const kernel = jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel;
  return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}"""
CHROMIUM_OPTIONS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def chromium() -> str | None:
    """The path of a Chromium that the system has."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A skip of all of this must not be overlooked."""
    if chromium() is None:
        terminalreporter.section("browser tests were SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.write_line(NO_CHROMIUM)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One server and one browser: these tests stay together when others run beside them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the whole session: while it lives, Playwright's event loop runs in this thread, and no other can."""
    path = chromium()
    if path is None:
        # Where everything is installed on purpose, a missing browser is a mistake.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(NO_CHROMIUM)
    options = [*CHROMIUM_OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=options)
        yield started
        started.close()


class JupyterLab:
    """A Jupyter server with JupyterLab and Notebook, as a learner starts it, and an embedded daemon of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        prefix = folder / "prefix"
        for name, vram in (("python3-vgpu", "256MiB"), ("large-vgpu", "640MiB")):
            install_kernelspec(prefix=str(prefix), vram=vram, name=name)
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        config = folder / "config" / "tfusion"
        config.mkdir(parents=True)
        (config / "tfusion_server_config.py").write_text(DAEMON)
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        environment = {
            **os.environ,
            "JUPYTER_PATH": str(prefix / "share" / "jupyter"),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            environment[name] = str(folder / name.lower())
        self.environment = environment
        settings = (
            folder / "jupyter_config_dir" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        )
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(
            '{"fetchNews": "false", "checkForUpdates": false}'
        )
        self.token = "browser-test"
        self.log = folder / "log"
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0",
            f"--ServerApp.root_dir={self.root}", f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
            *options,
        ]  # fmt: skip
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=folder, env=environment
            )
        runtime_files = Path(environment["JUPYTER_RUNTIME_DIR"])
        self.url: str = self._wait(lambda: _url_in(runtime_files))
        self._wait(self._answers)

    def _wait(self, ready: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + TIMEOUT_MS / 1000
        while not (value := ready()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"JupyterLab is not ready:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)
        return value

    def _answers(self) -> bool:
        try:
            return bool(self.request("GET", "api/status"))
        except urllib.error.URLError:
            return False

    def request(self, method: str, path: str) -> Any:
        """The decoded answer of one REST request."""
        request = urllib.request.Request(
            f"{self.url}{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def daemon(self) -> psutil.Process:
        """The embedded daemon, which must run."""
        ours = str(self.folder)
        return next(
            process
            for process in psutil.process_iter()
            if "--embedded" in (command := _command(process))
            and any(word.startswith(ours) for word in command)
        )

    def write_notebook(self, name: str, kernel: str) -> None:
        """An empty notebook that is opened with a kernel of this name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        nbformat.write(notebook, self.root / name)

    def end_kernels(self) -> None:
        """As *Shut Down All* does."""
        (self.root / "stop").touch()
        for session in self.request("GET", "api/sessions"):
            self.request("DELETE", f"api/sessions/{session['id']}")
        (self.root / "stop").unlink()

    def stop(self) -> None:
        self.end_kernels()
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        finally:
            self.process.kill()
            with contextlib.suppress(StopIteration):
                daemon = self.daemon()
                daemon.terminate()
                daemon.wait(timeout=60)


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _url_in(folder: Path) -> str:
    for info in folder.glob("jpserver-*.json"):
        try:
            return str(json.loads(info.read_text())["url"])
        except ValueError:  # not written to its end yet
            continue
    return ""


@pytest.fixture(scope="session")
def jupyter() -> Iterator[JupyterLab]:
    """A learner's server."""
    yield from _running()


@pytest.fixture(scope="session")
def teachers_jupyter() -> Iterator[JupyterLab]:
    """A teacher's server, with a daemon of its own."""
    yield from _running("--TFusionExtension.host_view=True")


def _running(*options: str) -> Iterator[JupyterLab]:
    # Unix sockets allow 107 bytes, and pytest's own folders are long.
    with tempfile.TemporaryDirectory(prefix="tf-", dir="/tmp") as folder:
        server = JupyterLab(Path(folder), *options)
        yield server
        server.stop()


class Screen:
    """A page of JupyterLab or Notebook, and what a person does with it."""

    def __init__(self, page: Page, jupyter: JupyterLab) -> None:
        self.page = page
        self.jupyter = jupyter
        self.asked: list[str] = []
        """Requests to our server extension."""
        self.errors: list[str] = []
        """Exceptions that nobody caught, of our extension's code; Jupyter has some of its own."""
        page.set_default_timeout(TIMEOUT_MS)
        page.on("request", lambda request: self._note(request.method, request.url))
        page.on("pageerror", lambda error: self._note_error(error.stack or str(error)))

    def _note(self, method: str, url: str) -> None:
        if found := re.search(r"/jupyter-tfusion/api/([^?]*)", url):
            self.asked.append(f"{method} {found[1]}")

    def _note_error(self, stack: str) -> None:
        if "@jupyter-tfusion" in stack:
            self.errors.append(stack)

    def open_lab(self) -> None:
        self.page.goto(f"{self.jupyter.url}lab?token={self.jupyter.token}&reset")
        self.page.wait_for_selector(".jp-Launcher")

    def open_sidebar(self) -> Locator:
        """Opens the panel by its tab."""
        sidebar = self.page.locator("#jp-tfusion-sidebar")
        if not sidebar.is_visible():
            self.page.locator('.lm-TabBar-tab[data-id="jp-tfusion-sidebar"]').click()
        expect(sidebar).to_be_visible()
        return sidebar

    def launch(self, kernel: str) -> None:
        """Chooses a kernel for a notebook in the launcher, opening one if need be."""
        if not self.page.locator(".jp-Launcher").is_visible():
            self.page.evaluate("() => void jupyterapp.commands.execute('launcher:create')")
        card = f'.jp-Launcher:visible .jp-LauncherCard[data-category="Notebook"][title^="{kernel}"]'
        self.page.locator(card).click()
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Waits until the notebook in front has a kernel that answers; a cell run before that is not run at all."""
        expect(self.notebook).to_be_visible()
        self.page.wait_for_function(KERNEL_IS_IDLE)

    @property
    def notebook(self) -> Locator:
        return self.page.locator(".jp-NotebookPanel:visible")

    def run(self, code: str) -> Locator:
        """Types code into the notebook's last cell and runs it; returns the cell, which may still be at work."""
        cells = self.notebook.locator(".jp-CodeCell")
        number = cells.count()
        cells.last.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")
        expect(cells).to_have_count(number + 1)
        return cells.nth(number - 1)

    def run_to_end(self, code: str, printed: str) -> None:
        """Runs code that must print something."""
        cell = self.run(code)
        expect(cell.locator(".jp-OutputArea")).to_contain_text(printed)

    def card(self, notebook: str) -> Locator:
        """The sidebar's card of a notebook."""
        return self.page.locator(".jp-tfusion-card").filter(
            has=self.page.get_by_role("heading", name=notebook, exact=True)
        )

    @property
    def notebook_name(self) -> str:
        return self.page.locator(".lm-DockPanel-tabBar .lm-mod-current .lm-TabBar-tabLabel").inner_text()

    def theme(self, name: str) -> None:
        self.page.evaluate(
            "name => void jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
        )
        dark = "true" if "Light" in name else "false"
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-light", dark)

    def serious_barriers(self, selector: str) -> list[str]:
        """What axe finds serious or critical within an element."""
        axe = ROOT / "labextension" / "node_modules" / "axe-core" / "axe.min.js"
        self.page.add_script_tag(path=axe)
        found = self.page.evaluate(
            "selector => axe.run(selector).then(result => result.violations)", selector
        )
        return [
            f"{one['id']}: {one['help']} ({', '.join(str(node['target']) for node in one['nodes'])})"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    def picture(self, name: str, of: Locator | None = None) -> None:
        """A picture for the documents, if this run makes them."""
        if PICTURES is not None:
            (of or self.page).screenshot(path=PICTURES / f"{name}.png", animations="disabled")


@pytest.fixture
def screen(browser: Browser, jupyter: JupyterLab) -> Iterator[Screen]:
    """A fresh browser window; kernels that a test started are gone when the next begins."""
    yield from _shown(browser, jupyter)


@pytest.fixture
def teachers_screen(browser: Browser, teachers_jupyter: JupyterLab) -> Iterator[Screen]:
    """The same, of a teacher."""
    yield from _shown(browser, teachers_jupyter)


def _shown(browser: Browser, jupyter: JupyterLab) -> Iterator[Screen]:
    context = browser.new_context(viewport={"width": 1200, "height": 760})
    shown = Screen(context.new_page(), jupyter)
    yield shown
    context.close()
    jupyter.end_kernels()
    assert shown.errors == [], "the page raised errors"

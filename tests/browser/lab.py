"""A real JupyterLab in a folder of its own, and its notebooks as a reader in a browser has them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from playwright.async_api import BrowserContext, Locator, Page, expect

__all__ = ["CHROMIUM_FLAGS", "Lab", "Notebook", "find_chromium", "running_lab"]

START_SECONDS = 60.0
CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

# Settings of the reader's that would put dialogs or saves between a test and what it looks at.
_SETTINGS = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
}
# Every page would start Node.js to find out whether an extension waits to be built.
_PAGE = {"buildCheck": False}


@dataclass
class Lab:
    """A running JupyterLab: where it is, its token, and the folder whose notebooks it shows.

    Attributes:
        url: its address in the browser, which may know it by another host name.
        api_url: its address for what a test asks it without a browser.
    """

    url: str
    token: str
    folder: Path
    api_url: str

    def write(self, name: str, *sources: str) -> str:
        """Write a notebook with one code cell for each source; returns its path in the folder."""
        cells = [nbformat.v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        (self.folder / f"{name}.ipynb").write_text(nbformat.writes(notebook), "utf-8")
        return f"{name}.ipynb"


def find_chromium() -> str | None:
    """Where a Chromium or Chrome is on the PATH, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@contextlib.asynccontextmanager
async def running_lab(folder: Path, *, base_url: str = "/", host: str = "localhost", arguments: Sequence[str] = ()) -> AsyncIterator[Lab]:
    """JupyterLab on a free port, with its configuration, settings and runtime files below ``folder``.

    Args:
        folder: an empty one.
        base_url: the prefix of every path, as a hub gives one to each of its users.
        host: the name by which the browser knows this machine. Anything but localhost has to be made known to it.
        arguments: more arguments of the command line.
    """
    notebooks, settings = folder / "notebooks", folder / "settings"
    notebooks.mkdir()
    for name, values in _SETTINGS.items():
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).write_text(json.dumps(values), "utf-8")
    (folder / "config/labconfig").mkdir(parents=True)
    (folder / "config/labconfig/page_config.json").write_text(json.dumps(_PAGE), "utf-8")
    token, port = secrets.token_hex(16), _free_port()
    with (folder / "lab.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=50"),
            *(f"--ServerApp.root_dir={notebooks}", "--LabApp.expose_app_in_browser=True", f"--ServerApp.base_url={base_url}", *arguments),
            env=_environment(folder, token),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = await _address(process, folder)
        yield Lab(address.replace("//localhost:", f"//{host}:"), token, notebooks, address)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15.0)
        except TimeoutError:
            process.kill()
            await process.wait()


def _environment(folder: Path, token: str) -> dict[str, str]:
    """The user's configuration is never read or written; what is installed in sys.prefix is still found."""
    places = {"HOME": "home", "IPYTHONDIR": "ipython", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    places |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST"))}
    return {**kept, **{name: str(folder / place) for name, place in places.items()}, "JUPYTER_TOKEN": token}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def _address(process: asyncio.subprocess.Process, folder: Path) -> str:
    """The address that the server wrote down once it listens; another program may have taken the port that we saw free."""
    written = folder / "runtime" / f"jpserver-{process.pid}.json"
    try:
        async with asyncio.timeout(START_SECONDS):
            while not written.exists() or not written.read_text("utf-8").strip():
                assert process.returncode is None, f"JupyterLab ended with {process.returncode}:\n{(folder / 'lab.log').read_text('utf-8')}"
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"JupyterLab did not start:\n{(folder / 'lab.log').read_text('utf-8')}") from None
    return json.loads(written.read_text("utf-8"))["url"].rstrip("/")


_RUN_CELL = """async ([index, run]) => {
  const { content, context, sessionContext } = window.jupyterapp.shell.currentWidget;
  content.deselectAll();
  content.activeCellIndex = index;
  await window.jupyterapp.commands.execute(run);
}"""
_EXECUTE = """async (code) => {
  let text = "";
  const future = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code, store_history: false });
  future.onIOPub = ({ header, content }) => {
    if (header.msg_type === "stream") text += content.text;
    if (header.msg_type === "error") text += content.traceback.join("\\n");
  };
  const reply = await future.done;
  return [reply.content.status, text];
}"""
_READY = """() => {
  const shown = window.jupyterapp?.shell.currentWidget;
  return shown?.context?.isReady && shown.sessionContext?.isReady && shown.sessionContext.session?.kernel?.status === "idle";
}"""


class Notebook:
    """One notebook, open in a page of its own, with a kernel of its own.

    Attributes:
        page: the page; ``page_errors`` collects what its scripts threw, ``dialogs`` the texts of alert and the like.
    """

    def __init__(self, lab: Lab, page: Page, path: str) -> None:
        self.lab = lab
        self.page = page
        self.path = path
        self.page_errors: list[str] = []
        self.dialogs: list[str] = []
        page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        page.on("dialog", self._note_dialog)

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, lab: Lab, context: BrowserContext, path: str, *, dark: bool = False) -> AsyncIterator[Notebook]:
        """Open ``path`` in a new page; its kernel starts meanwhile, and is shut down at the end."""
        headers = {"Authorization": f"token {lab.token}"}
        session = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        answer = await context.request.post(f"{lab.api_url}/api/sessions", headers=headers, data=session)
        page = await context.new_page()
        notebook = cls(lab, page, path)
        try:
            await notebook.load()
            if dark:
                await notebook.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
                await expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
            yield notebook
        finally:
            await page.close()
            await context.request.delete(f"{lab.api_url}/api/sessions/{(await answer.json())['id']}", headers=headers)

    async def load(self) -> None:
        """Load the page, or load it again, until the notebook and its kernel are there."""
        await self.page.goto(f"{self.lab.url}/doc/tree/{self.path}?token={self.lab.token}")
        await self.page.wait_for_function(_READY, timeout=1000 * START_SECONDS)

    async def command(self, name: str, args: dict[str, Any] | None = None) -> None:
        """Have one of JupyterLab's commands done, and wait for it."""
        await self.page.evaluate("async ([name, args]) => { await window.jupyterapp.commands.execute(name, args); }", [name, args or {}])

    async def run_all(self) -> None:
        """Run every cell and wait until the last has ended."""
        await self.command("notebook:run-all-cells")

    async def run(self, index: int) -> None:
        """Run one cell and wait for its end."""
        await self.page.evaluate(_RUN_CELL, [index, "notebook:run-cell"])

    async def start(self, index: int) -> None:
        """Start one cell and do not wait for its end."""
        await self.page.evaluate(f"(args) => {{ ({_RUN_CELL})(args); }}", [index, "notebook:run-cell"])

    async def execute(self, code: str) -> str:
        """Execute code in the kernel outside any cell; returns what it printed."""
        status, text = await self.page.evaluate(_EXECUTE, code)
        assert status == "ok", text
        return text.strip()

    async def save(self) -> dict[str, Any]:
        """Save, and return what is in the file."""
        await self.command("docmanager:save")
        return json.loads((self.lab.folder / self.path).read_text("utf-8"))

    async def restart_kernel(self) -> None:
        """Restart the kernel as a reader does: by the menu's command and its dialog."""
        await self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:restart-kernel'); }")
        await self.page.get_by_role("button", name="Confirm Kernel Restart").click()

    async def outputs(self, kind: str) -> list[dict[str, Any]]:
        """All outputs of a kind, ``error`` or ``stream`` for example, that the notebook holds now."""
        cells = await self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells")
        return [output for cell in cells for output in cell.get("outputs", []) if output["output_type"] == kind]

    def cell(self, index: int) -> Locator:
        """One cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def chat(self, name: str) -> Locator:
        """The chat panels of a client."""
        return self.page.get_by_role("region", name=f"Chat of {name}", exact=True)

    def server_panel(self, name: str = "main") -> Locator:
        """The panels of a server."""
        return self.page.get_by_role("region", name=f"Server {name}", exact=True)

    def conversation(self, name: str = "main") -> Locator:
        """The conversations of a server, seen from both ends."""
        return self.page.get_by_role("region", name=f"Conversations of server {name}", exact=True)

    async def _note_dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        await dialog.dismiss()

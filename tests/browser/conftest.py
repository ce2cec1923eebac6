"""One JupyterLab and one Chromium for all browser tests; a notebook, a page and a kernel for each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.browser.lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium, running_lab

PATIENCE_MILLISECONDS = 20_000  # the machine may be busy with other tests

OpenNotebook = Callable[..., contextlib.AbstractAsyncContextManager[Notebook]]


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> None:
    """In place of the check for servers in this process: here they live in kernels, which end with their notebook."""


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Where the browser is; without one the tests are skipped, but under CI they fail."""
    found = find_chromium()
    if found is None:
        advice = "no Chromium or Chrome on PATH. Install one: `apt install chromium`, `brew install --cask chromium`, or Chrome from google.com/chrome"
        if os.environ.get("CI"):
            pytest.fail(advice)
        pytest.skip(advice)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with running_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport={"width": 1000, "height": 1000})
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    context.set_default_navigation_timeout(6 * PATIENCE_MILLISECONDS)
    yield context
    await context.close()


@pytest.fixture
def open_notebook(lab: Lab, context: BrowserContext, request: pytest.FixtureRequest) -> OpenNotebook:
    """``async with open_notebook(*sources) as notebook``: a new notebook with these cells, not yet run."""
    name = "".join(character if character.isalnum() else "_" for character in request.node.name)

    def opening(*sources: str, path: str = "", dark: bool = False) -> contextlib.AbstractAsyncContextManager[Notebook]:
        return Notebook.opened(lab, context, path or lab.write(name, *sources), dark=dark)

    return opening

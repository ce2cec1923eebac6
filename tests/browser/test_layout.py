"""Panels beside and below each other in a real JupyterLab: as far apart in a reader's boxes as in one output, and no further inside BothSides."""

from __future__ import annotations

import itertools

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SERVING = """\
from IPython.display import display
from ipywidgets import HBox, VBox
from kit import BothSides, ChatPanel, ServerPanel, serve
from tests.apps import app

server = await serve(app, port=0)
chats = {name: ChatPanel(server, "/ws", name=name) for name in ("Ana", "Ben")}"""
IN_BOXES = "VBox([HBox(list(chats.values())), ServerPanel(server), BothSides(server, '/ws', clients=['Cleo', 'Dan'])])"
IN_ONE_OUTPUT = "for panel in (*chats.values(), BothSides(server, '/ws', clients=['Cleo'])):\n    display(panel)"

# The buttons on which the ring of the keyboard's focus is not there or has the colour of what it is painted on.
_UNSEEN = """(panels) => panels.flatMap((panel) => [...panel.querySelectorAll("button:enabled")].filter((button) => {
  if (!button.checkVisibility()) return false;
  button.focus();
  const { outlineStyle, outlineWidth, outlineColor, backgroundColor } = getComputedStyle(button);
  return outlineStyle !== "solid" || outlineWidth !== "2px" || outlineColor === backgroundColor;
}).map((button) => button.textContent))"""

# The outermost frames of a cell's panels, from top to bottom and from left to right; and the chat panels within BothSides.
_FRAMES = """(cell) => {
  const edges = (panel) => { const { left, right, top, bottom } = panel.getBoundingClientRect(); return { left, right, top, bottom }; };
  const frames = [...cell.querySelectorAll(".kit-panel, .kit-both-sides")].filter((panel) => !panel.parentElement.closest(".kit-both-sides"));
  return [frames.map(edges), [...cell.querySelectorAll(".kit-both-sides .kit-chat-panel")].map(edges)];
}"""


async def all_are_shown(notebook: Notebook, *names: str) -> None:
    """The chats of these, which come one by one and in any order."""
    for name in names:
        await expect(notebook.chat(name)).to_be_visible()


async def test_panels_in_boxes_are_8_pixels_apart_and_those_of_both_sides_only_a_line(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SERVING, IN_BOXES) as notebook:
        await notebook.run_all()
        await all_are_shown(notebook, "Ana", "Ben", "Cleo", "Dan")
        await expect(notebook.server_panel()).to_have_count(2)
        (ana, ben, server, both), (cleo, dan) = await notebook.cell(1).evaluate(_FRAMES)
        assert ben["left"] - ana["right"] == pytest.approx(8, abs=0.5)
        assert server["top"] - ana["bottom"] == pytest.approx(8, abs=0.5)
        assert both["top"] - server["bottom"] == pytest.approx(8, abs=0.5)
        assert dan["top"] - cleo["bottom"] == pytest.approx(1, abs=0.5)
        assert await panels_that_overflow(notebook.page) == []


async def test_panels_in_one_output_are_8_pixels_apart(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SERVING, IN_ONE_OUTPUT) as notebook:
        await notebook.run_all()
        await all_are_shown(notebook, "Ana", "Ben", "Cleo")
        frames, _ = await notebook.cell(1).evaluate(_FRAMES)
        assert len(frames) == 3
        assert [below["top"] - above["bottom"] for above, below in itertools.pairwise(frames)] == pytest.approx([8, 8], abs=0.5)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_keyboards_focus_is_seen_on_every_button(open_notebook: OpenNotebook, dark: bool) -> None:
    async with open_notebook(SERVING, IN_BOXES, dark=dark) as notebook:
        await notebook.run_all()
        await all_are_shown(notebook, "Ana", "Ben", "Cleo", "Dan")
        await expect(notebook.server_panel()).to_have_count(2)
        await notebook.chat("Ana").get_by_label("Path").press("Tab")  # from now on the reader uses the keyboard
        await expect(notebook.chat("Ana").get_by_role("button", name="Connect", exact=True)).to_be_focused()
        assert await notebook.page.locator(".kit-panel").count() > 5
        assert await notebook.page.locator(".kit-panel").evaluate_all(_UNSEEN) == []

"""What all panels with a list have in common: pause, resume and clear, by method as by button."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit import ConversationPanel, FramePanel, SequencePanel, Server, ServerPanel
from kit.panels import base
from kit.panels.base import ListPanel, front_end
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]


@pytest.mark.parametrize("panel_class", [ConversationPanel, FramePanel, SequencePanel, ServerPanel])
async def test_a_method_has_every_view_press_its_button(panel_class: type[ListPanel], server: Server, show: Show, eventually: Eventually) -> None:
    panel = panel_class(server)
    views = [show(panel), show(panel)]
    await eventually(lambda: all(view.messages for view in views))
    panel.pause()
    panel.clear()
    panel.resume()
    for view in views:
        pressed = [message["press"] for message in view.messages if "press" in message]
        assert pressed == ["pause", "clear", "resume"]


def test_every_panel_with_a_list_has_the_buttons_that_its_methods_press() -> None:
    known, panels = set(), [ListPanel]
    while panels:
        panel = panels.pop()
        panels += panel.__subclasses__()
        known |= {panel} if "_esm" in vars(panel) else set()
    assert {panel.__name__ for panel in known} == {"ConversationPanel", "FramePanel", "SequencePanel", "ServerPanel", "StatePanel"}
    shared = (Path(base.__file__).parent / "shared.js").read_text("utf-8")
    for panel in known:
        own = front_end(panel.__module__.rpartition(".")[2])["_esm"].removeprefix(shared)
        assert "...log.tools" in own or ("kit-pause" in own and "kit-clear" in own), panel

"""Panels without a browser: comms that keep what they sent, so that a test can be the front end."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import comm
import ipywidgets
import pytest
from comm.base_comm import BaseComm

from kit import Server, serve
from kit.panels.base import Panel
from tests.apps import app


class KeepingComm(BaseComm):
    """A comm in place of the kernel's, through the hook that the ``comm`` package has for it; keeps what it published."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        super().__init__(*args, **kwargs)

    def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any) -> None:
        self.published.append((msg_type, data or {}))


class FrontEnd:
    """One view of a panel, as the browser has it.

    Attributes:
        messages: what the panel has told its views, oldest first.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.comm: KeepingComm = panel.comm
        self.view = uuid.uuid4().hex
        self._since = len(self.comm.published)

    def do(self, what: str, **form: Any) -> None:
        """What ``model.send`` does in the browser; on whichever thread the test is."""
        content = {**form, "do": what, "view": self.view}
        self.comm.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})

    @property
    def messages(self) -> list[dict[str, Any]]:
        sent = [data["content"] for kind, data in self.comm.published[self._since :] if kind == "comm_msg" and data.get("method") == "custom"]
        return [message for message in sent if message.get("to", self.view) == self.view]

    @property
    def state(self) -> dict[str, Any]:
        """The newest state; before it has been told, there is nothing under any name."""
        return next((message["state"] for message in reversed(self.messages) if "state" in message), defaultdict(lambda: None))

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The items or rows that a view would show now, as its log folds them."""
        kept: dict[Any, dict[str, Any]] = {}
        for message in self.messages:
            if message.get("reset"):
                kept.clear()
            for item in (*message.get("items", ()), *message.get("rows", ())):
                kept[item.get("id", item.get("key"))] = item
        return list(kept.values())

    def words(self) -> str:
        """All that those items say."""
        return "\n".join(str(value) for item in self.shown for value in item.values())


@pytest.fixture(autouse=True)
def keeping_comms(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(comm, "create_comm", KeepingComm)
    yield
    ipywidgets.Widget.close_all()


@pytest.fixture
def show() -> Callable[[Panel], FrontEnd]:
    """Display a panel: its front end, which has said hello."""

    def displayed(panel: Panel) -> FrontEnd:
        front_end = FrontEnd(panel)
        front_end.do("hello")
        return front_end

    return displayed


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0) as serving:
        yield serving

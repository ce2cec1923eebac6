"""BothSides: chat panels, the aligned conversation and the server beside each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ipywidgets

from kit.panels.chat import ChatPanel
from kit.panels.conversation import ConversationPanel
from kit.panels.server import ServerPanel
from kit.server import Server

__all__ = ["BothSides"]


class BothSides(ipywidgets.Box):
    """Both ends of every connection at a glance: ``BothSides(server, "/ws", clients=["Ana", "Ben"])``.

    From left to right: one `ChatPanel` a client, the conversation from client over wire to handler, the server's
    connections and log. ``both["Ana"]`` is Ana's chat panel. Nothing connects by being displayed.

    Args:
        server: the server, as `serve` returns it.
        path: where the endpoint is.
        clients: the names of the clients, each once.
        handshake: what `ChatPanel` takes: ``subprotocols``, ``headers``, ``cookies``, ``query``, ``origin``.

    Raises:
        ValueError: no client, or one name twice.
    """

    def __init__(self, server: Server, path: str = "/", *, clients: Iterable[str] = ("client",), **handshake: Any) -> None:
        names = [clients] if isinstance(clients, str) else list(clients)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"clients expects one or more different names, but got {names!r}. Write for example clients=['Ana', 'Ben']")
        self.chats = {name: ChatPanel(server, path, name=name, **handshake) for name in names}
        self.conversation = ConversationPanel(server)
        self.server_panel = ServerPanel(server)
        column = ipywidgets.Box(list(self.chats.values()))
        column.add_class("kit-chats")
        columns = ipywidgets.Box([column, self.conversation, self.server_panel])
        columns.add_class("kit-columns")
        super().__init__([columns])
        self.add_class("kit-both-sides")

    def __getitem__(self, name: str) -> ChatPanel:
        if name not in self.chats:
            raise KeyError(f"no client {name!r} here; there are {', '.join(map(repr, self.chats))}")
        return self.chats[name]

    def snapshot(self) -> None:
        """Put static copies of every conversation and of the server's log into this cell's output."""
        for panel in (*self.chats.values(), self.conversation, self.server_panel):
            panel.snapshot()

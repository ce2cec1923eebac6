"""BothSides: chat panels, what happens between both ends, the handler's source and the server beside each other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import ipywidgets

from kit.panels.base import front_end
from kit.panels.by_name import ServersPanel
from kit.panels.chat import ChatPanel
from kit.panels.conversation import ConversationPanel
from kit.panels.frame import FramePanel
from kit.panels.handler import HandlerPanel
from kit.panels.sequence import SequencePanel
from kit.panels.server import ServerPanel, head_of
from kit.server import Server
from kit.timeline import Entry

__all__ = ["BothSides"]

_COLUMNS = {"kit-clients": ("chats",), "kit-between": ("sequence", "conversation", "frames"), "kit-backstage": ("handler", "server")}
_SHOWN_FIRST = ("chats", "sequence", "handler", "server")


class BothSides(ipywidgets.Box):
    """Both ends of every connection at a glance: ``BothSides(server, "/ws", clients=["Ana", "Ben"])``.

    From left to right: one `ChatPanel` a client; what passes between client and handler; the handler's source, and the
    server's connections and log. ``both["Ana"]`` is Ana's chat panel. Nothing connects by being displayed.

    A view that is not shown costs nothing. Each has a button in the header, and a place in ``show`` and ``hide``.

    Args:
        server: the server, as `serve` returns it.
        path: where the endpoint is.
        clients: the names of the clients, each once.
        views: which views are shown first, of `BothSides.VIEWS`.
        handshake: what `ChatPanel` takes: ``subprotocols``, ``headers``, ``cookies``, ``query``, ``origin``.

    Raises:
        ValueError: no client, one name twice, or a view that is not there.
    """

    VIEWS = tuple(name for column in _COLUMNS.values() for name in column)

    def __init__(self, server: Server, path: str = "/", *, clients: Iterable[str] = ("client",), views: Iterable[str] = _SHOWN_FIRST, **handshake: Any) -> None:
        names = [clients] if isinstance(clients, str) else list(clients)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"clients expects one or more different names, but got {names!r}. Write for example clients=['Ana', 'Ben']")
        self.views = _checked(views)
        self.chats = {name: ChatPanel(server, path, name=name, **handshake) for name in names}
        self.sequence = SequencePanel(server)
        self.conversation = ConversationPanel(server)
        self.frames = FramePanel(server)
        self.handler = HandlerPanel(server)
        self.server_panel = ServerPanel(server)
        self._bar = _Bar(server, lambda: self.views, self._toggle)
        self._widgets = {
            "chats": _box("kit-chats"),
            "sequence": self.sequence,
            "conversation": self.conversation,
            "frames": self.frames,
            "handler": self.handler,
            "server": self.server_panel,
        }
        self._widgets["chats"].children = tuple(self.chats.values())
        self._stacks = [_box("kit-stack", column) for column in _COLUMNS]
        self._columns = _box("kit-columns")
        self._arrange()
        super().__init__([self._bar, self._columns])
        self.add_class("kit-both-sides")

    def __getitem__(self, name: str) -> ChatPanel:
        if name not in self.chats:
            raise KeyError(f"no client {name!r} here; there are {', '.join(map(repr, self.chats))}")
        return self.chats[name]

    def show(self, *views: str) -> None:
        """Show these views too, as their buttons in the header do; from any thread."""
        self._set(_checked((*self.views, *_checked(views))))

    def hide(self, *views: str) -> None:
        """Show these views no more; they follow nothing until they are shown again."""
        gone = _checked(views)
        self._set(tuple(name for name in self.views if name not in gone))

    def snapshot(self) -> None:
        """Put static copies of every conversation and of the server's log into this cell's output."""
        for panel in (*self.chats.values(), self.conversation, self.server_panel):
            panel.snapshot()

    def close(self) -> None:
        """Remove all of it from the page and stop following; its clients stay connected. Safe to call twice."""
        if "_bar" not in self.__dict__:  # its arguments were refused before it was made
            return
        for widget in (*self.chats.values(), *self._widgets.values(), *self._stacks, self._columns, self._bar):
            widget.close()
        super().close()

    def _toggle(self, name: str) -> None:
        (self.hide if name in self.views else self.show)(name)

    def _set(self, views: tuple[str, ...]) -> None:
        self.views = views
        self._arrange()
        self._bar.tell()

    def _arrange(self) -> None:
        """Put each shown view into its column, and each column that has one beside the others."""
        for stack, names in zip(self._stacks, _COLUMNS.values(), strict=True):
            stack.children = tuple(self._widgets[name] for name in names if name in self.views)
        self._columns.children = tuple(stack for stack in self._stacks if stack.children)


class _Bar(ServersPanel):
    """The header: which server this is, how it is, and a button for each view."""

    _esm, _css = front_end("both_sides").values()

    def __init__(self, server: Server, shown: Callable[[], tuple[str, ...]], toggle: Callable[[str], None]) -> None:
        super().__init__(server, "Both sides of server")
        self._shown = shown
        self._toggle = toggle
        self._begin()

    def tell(self) -> None:
        """Say anew which views are shown; from any thread."""
        self._tell(self._reset())

    def _action(self, what: str, form: dict[str, Any]) -> Coroutine[Any, Any, None] | None:
        return self._toggle_later(str(form.get("view_name"))) if what == "toggle" else None

    async def _toggle_later(self, name: str) -> None:
        self._toggle(name)

    def _begin(self) -> None:
        self._said: dict[str, Any] = {}

    def _reset(self) -> dict[str, Any]:
        return {"head": head_of(self.server), "views": [{"name": name, "shown": name in self._shown()} for name in BothSides.VIEWS]}

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        head = head_of(self.server)
        if head == self._said:
            return None
        self._said = head
        return {"head": head}


def _box(*css_classes: str) -> ipywidgets.Box:
    box = ipywidgets.Box()
    for css_class in css_classes:
        box.add_class(css_class)
    return box


def _checked(views: Iterable[str]) -> tuple[str, ...]:
    """The views in their own order, each once."""
    names = [views] if isinstance(views, str) else list(views)
    for name in names:
        if name not in BothSides.VIEWS:
            raise ValueError(f"views expects some of {', '.join(BothSides.VIEWS)}, but got {name!r}.")
    return tuple(name for name in BothSides.VIEWS if name in names)

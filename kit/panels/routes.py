"""RoutesPanel: the WebSocket routes of the reader's own app as a reference page, each with a form that connects to it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import ipywidgets
from starlette.websockets import WebSocketState

from kit import loops
from kit.client import Client
from kit.errors import HandshakeRefused, KitError
from kit.panels import handshake_form
from kit.panels.base import front_end
from kit.panels.by_name import ServersPanel
from kit.panels.chat import ChatPanel
from kit.panels.route_rows import route_row
from kit.parameters import Parameter
from kit.printable import visible
from kit.route import RouteDescription, Routes, WrongParameters
from kit.server import Server
from kit.timeline import Entry

__all__ = ["RouteList", "RoutesPanel"]

CHATS_LIMIT = 12
_LOADED_SECONDS = 3.0  # by then a page has made its view of a chat; one that is gone before is an error in its console
_ROUTES_SHOWN = 200
_NAMES = ("Ana", "Ben", "Cleo", "Dora", "Emil", "Fay")

Connect = Callable[[RouteDescription, dict[str, Any]], Coroutine[Any, Any, Client]]


class RouteList(ServersPanel):
    """The list inside a `RoutesPanel`: what the app's routes are, how many connections each has, and their forms."""

    _esm, _css = front_end("routes").values()

    def __init__(self, server: Server, connect: Connect) -> None:
        super().__init__(server, "Routes of server")
        self._connect = connect
        self.routes = server.routes
        self._begin()

    async def refresh(self) -> None:
        """Look at the app again, as the Refresh button does: for routes and overrides that came after it was served."""
        self._look_again()
        self._tell(self._reset())

    def _look_again(self) -> None:
        self.routes = self.server.routes
        self._begin()

    def _begin(self) -> None:
        self._route_of: dict[int, int | None] = {}  # the index of each connection's route, by the connection's number
        self._said: dict[str, Any] = {}

    def _reset(self) -> dict[str, Any]:
        shown = [route_row(index, route) for index, route in enumerate(self.routes[:_ROUTES_SHOWN])]
        more = len(self.routes) - len(shown)
        notes = [visible(note) for note in self.routes.unlisted]
        return {"state": self._state(), "routes": shown, "notes": [*notes, *([f"{more:,} more routes are not shown."] if more else [])]}

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        replaced = any(entry.kind == "notice" and entry.details.get("what") == "serving" for entry in entries)
        if replaced or skipped:
            self._look_again()
        state = self._state()
        if state == self._said and not replaced:
            return None
        self._said = state
        return self._reset() if replaced or skipped else {"state": state}

    def _state(self) -> dict[str, Any]:
        server = self.server
        serving = server.state == "serving"
        return {
            "name": server.name,
            "url": server.ws_url,
            "pill": server.state,
            "tone": "good" if serving else "muted",
            "open": {str(index): count for index, count in self._open_connections().items()},
        }

    def _open_connections(self) -> Counter[int]:
        """How many connections each route has now, by its index; a connection belongs to the first route that answers its path."""
        counted: Counter[int] = Counter()
        for connection in self.timeline.connections:
            if connection.open and connection.accepted:
                if connection.number not in self._route_of:
                    answering = (index for index, route in enumerate(self.routes) if not route.host and route.answers(connection.path))
                    self._route_of[connection.number] = next(answering, None)
                if (index := self._route_of[connection.number]) is not None:
                    counted[index] += 1
        return counted

    def _action(self, what: str, form: Mapping[str, Any]) -> Coroutine[Any, Any, Any] | None:
        match what:
            case "connect":
                return self._connect_as_typed(form)
            case "refresh":
                return self.refresh()
        return None

    async def _connect_as_typed(self, form: Mapping[str, Any]) -> None:
        route = self.routes[int(form["route"])]
        if route.path != form.get("path"):
            raise KitError("the app has changed since this form was made. Press Refresh, and connect again.")
        typed = {name: text for name, text in dict(form.get("values") or {}).items() if text}
        more: dict[str, Any] = {name: _as_typed(route.parameter(name), text) for name, text in typed.items()}
        more |= handshake_form.read({"subprotocols": form.get("subprotocols") or ""})
        client = await self._connect(route, {**more, "name": form.get("name") or None, "anyway": bool(form.get("anyway"))})
        self._answer(form, said=f"{visible(client.connection.name)} is connected, as connection {client.number}.", tone="good")

    def _failed(self, error: Exception, form: Mapping[str, Any]) -> None:
        if isinstance(error, WrongParameters):
            self._answer(form, problems={name: visible(_beside_field(name, text)) for name, text in error.problems.items()})
        elif isinstance(error, handshake_form.FieldError):
            self._answer(form, problems={error.field: visible(str(error))})
        elif isinstance(error, HandshakeRefused):
            self._answer(form, said=f"Refused with HTTP {error.status}: the chat of {visible(error.connection.name)} says why.", tone="bad")
        else:
            self._answer(form, said=visible(str(error)), tone="bad")

    def _answer(self, form: Mapping[str, Any], **words: Any) -> None:
        self._tell({"answer": {"route": form.get("route"), **words}, **({"to": form["view"]} if "view" in form else {})})


class RoutesPanel(ipywidgets.Box):
    """Look at your own app: ``RoutesPanel(server)`` lists its WebSocket routes, which FastAPI's ``/docs`` does not.

    Each route has its path, docstring, dependencies, parameters, and a form made of them. Connecting opens a `ChatPanel`
    beside the list, at most twelve at a time. It follows the server's *name*: when that server is replaced, the list is made
    anew. Nothing connects by being displayed.

    Args:
        server: a server from `serve`, with any FastAPI or Starlette app.

    Raises:
        TypeError: it is no server.
    """

    def __init__(self, server: Server) -> None:
        if not isinstance(server, Server):
            raise TypeError(f"RoutesPanel expects a server from `await serve(app)`, but got {server!r:.80}.")
        self._chats: dict[tuple[str, str, str], ChatPanel] = {}
        self._holders: dict[ChatPanel, ipywidgets.Box] = {}
        self.list = RouteList(server, self._connect)
        self._column = ipywidgets.Box()
        self._column.add_class("kit-chats")
        self._columns = ipywidgets.Box([self.list, self._column])
        self._columns.add_class("kit-routes-columns")
        super().__init__([self._columns])
        self.add_class("kit-both-sides")
        self.add_class("kit-routes")

    @property
    def routes(self) -> Routes:
        """What is known of the routes of the app that is served now."""
        return self.list.routes

    @property
    def chats(self) -> list[ChatPanel]:
        """The chat panels that are shown, oldest first."""
        return [*self._chats.values()]

    def __getitem__(self, name: str) -> ChatPanel:
        for chat in reversed(self.chats):
            if chat.name == name:
                return chat
        raise KeyError(f"no chat of {name!r} here; there are {', '.join(repr(chat.name) for chat in self.chats) or 'none'}")

    async def connect(
        self,
        path: str,
        /,
        *,
        name: str | None = None,
        subprotocols: Iterable[str] = (),
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        origin: str | None = None,
        anyway: bool = False,
        **parameters: Any,
    ) -> Client:
        """Connect to a route in a chat panel beside the list, as its Connect button does.

        ``await panel.connect("/items/{item_id}/ws", item_id="foo", token="abc", name="Ana")``: each parameter is sent
        where the route looks for it: in the path, the query, a header or a cookie. May be awaited from any loop.

        Args:
            path: the route's path as the app declares it, or its name, or a path that it answers.
            name: who the client is; a name that has a chat on this route already gets its panel again.
            subprotocols: offered in this order.
            query, headers, cookies, origin: sent too, besides what the parameters say.
            anyway: send values that the route would refuse, to see its refusal.
            parameters: the values by name; a parameter that has the name of one of the arguments above is called
                ``query_name``, ``header_name`` and so on.

        Raises:
            LookupError: no such route, or no such parameter; the text lists those that there are.
            WrongParameters: a value is missing, or is not what the route takes; nothing was connected.
            KitError: twelve chats are here already.
            HandshakeRefused, ConnectError: as `kit.connect` raises them; the chat panel shows why.
        """
        more = {"query": query, "headers": headers, "cookies": cookies, "origin": origin}
        return await loops.background().run(
            self._connect(self.routes.find(path), {**parameters, "name": name, "subprotocols": subprotocols, "anyway": anyway}, more)
        )

    async def remove(self, chat: ChatPanel | str) -> None:
        """Close a chat's connection and take its panel away, as its Remove button does; nothing happens for one that is not here."""
        if isinstance(chat, str):
            chat = self[chat]
        await loops.background().run(self._remove(chat))

    async def refresh(self) -> None:
        """Look at the app again, as the Refresh button does."""
        await self.list.refresh()

    # On the clients' loop, where clicks and method twins meet.

    async def _connect(self, route: RouteDescription, arguments: dict[str, Any], more: Mapping[str, Any] | None = None) -> Client:
        name, anyway, subprotocols = arguments.pop("name"), arguments.pop("anyway"), arguments.pop("subprotocols")
        problems = route.problems(arguments)
        if problems and not anyway:
            raise WrongParameters(problems)
        path, *brought = route.handshake(arguments)
        extra = {key: value for key, value in (more or {}).items() if value}
        handshake = {key: {**own, **extra.pop(key, {})} for key, own in zip(("query", "headers", "cookies"), brought, strict=True)}
        handshake |= {"subprotocols": [*subprotocols], "origin": "", **extra}
        chat = self._chat_for(route, name or self._free_name(route), path, handshake)
        return await chat.connect(path, **handshake)

    def _chat_for(self, route: RouteDescription, name: str, path: str, handshake: Mapping[str, Any]) -> ChatPanel:
        key = (route.host, route.path, name)
        chat = self._chats.get(key)
        if chat is None:
            if len(self._chats) >= CHATS_LIMIT:
                raise KitError(f"there are {CHATS_LIMIT} chats here already. Remove one first, by its button or by: await panel.remove({self.chats[0].name!r})")
            chat = ChatPanel(self.list.server, path, name=name, **handshake)
            self._chats[key] = chat
            self._holders[chat] = self._holder(chat)
            self._column.children = [*self._holders.values()]
        return chat

    def _holder(self, chat: ChatPanel) -> ipywidgets.Box:
        button = ipywidgets.Button(description=f"Remove {visible(chat.name)}", tooltip="Close the connection and take this chat away")
        button.on_click(lambda _button: loops.background().submit(self._remove(chat)))
        holder = ipywidgets.Box([chat, button])
        holder.add_class("kit-route-chat")
        return holder

    async def _remove(self, chat: ChatPanel) -> None:
        holder = self._holders.pop(chat, None)
        if holder is None:
            return
        self._chats = {key: kept for key, kept in self._chats.items() if kept is not chat}
        self._column.children = [*self._holders.values()]
        await chat.disconnect()
        asyncio.get_running_loop().call_later(_LOADED_SECONDS, _close_all, (*holder.children, holder))

    def _free_name(self, route: RouteDescription) -> str:
        """The first name whose chat on this route is not connected."""
        names = itertools.chain(_NAMES, (f"client {number}" for number in itertools.count(1)))
        return next(name for name in names if not _connected(self._chats.get((route.host, route.path, name))))

    def close(self) -> None:
        """Remove the panel and its chats from the page; their connections are closed."""
        for chat in [*getattr(self, "_holders", ())]:
            loops.background().submit(self._remove(chat))
        for part in ("list", "_column", "_columns"):
            if hasattr(self, part):  # its argument may have been refused before it was made
                getattr(self, part).close()
        super().close()


def _close_all(widgets: Iterable[ipywidgets.Widget]) -> None:
    for widget in widgets:
        widget.close()


def _connected(chat: ChatPanel | None) -> bool:
    return chat is not None and chat.client is not None and chat.client.state is WebSocketState.CONNECTED


def _as_typed(parameter: Parameter, text: str) -> str | list[str]:
    """What was typed into a field; where several values may be given, they stand with commas between them."""
    return [part.strip() for part in text.split(",") if part.strip()] if parameter.several else text


def _beside_field(name: str, problem: str) -> str:
    """What is wrong with a value, without the name that stands beside its field already."""
    words = problem.removeprefix(f"{name}: ")
    return words[:1].upper() + words[1:]

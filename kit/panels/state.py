"""StatePanel: one real WebSocket to play with, call by call, with both of its state machines lit and every error shown."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketState

from kit import closing, loops
from kit.client import Client
from kit.errors import KitError, ReceiveTimeout
from kit.panels.base import ListPanel, front_end
from kit.panels.snapshot import show_snapshot
from kit.panels.stage import Stage, stage_app
from kit.panels.state_marks import NOT_CONNECTED, drawn, state_of
from kit.panels.state_rows import Log, Row, described, moved, row_of_the_client, short, shown
from kit.printable import quoted
from kit.redaction import redact
from kit.registry import running_server
from kit.server import Server, serve
from kit.timeline import Entry, Timeline
from kit.websocket_states import APPLICATION, CALLS, CLIENT

__all__ = ["StatePanel"]

_NAME = "state"
_CALLS = {call.key: call for call in CALLS}
_UNREAD = "no answer: messages wait for the handler, so the server reads no further and has not seen the Close frame. The client dropped its socket"
_NOT_CONNECTED = "nothing is connected. Press Connect, or run: await stage.connect()"


class StatePanel(ListPanel):
    """A stage for one real WebSocket: ``stage = StatePanel()``, then its Connect button or ``await stage.connect()``.

    Connecting starts a server named "state", whose handler does nothing but wait, and a client. The handler's own
    Starlette `WebSocket` is then yours: each button makes one raw ASGI call on it, on the server's loop, and the panel
    shows which calls are legal, what each did, and the exact error of those that are not. Nothing runs before that.

    Every click has a method twin, which may be awaited from any loop. Calls made past the panel, such as
    ``await stage.websocket.accept()`` in a cell, are shown too.

    Attributes:
        server: the server, or None before the first `connect`.
    """

    _esm, _css = front_end("state").values()

    def __init__(self) -> None:
        super().__init__(Timeline(), title="States of a WebSocket")
        self.server: Server | None = None
        self._stage: Stage | None = None
        self._app = stage_app(lambda: self._stage)
        self._changing = asyncio.Lock()  # one connect or stop at a time; both run on the clients' loop
        self._busy = ""
        self._numbers: set[int] = set()
        self._log = Log()
        self._said: dict[str, Any] = {}

    @property
    def websocket(self) -> WebSocket | None:
        """The parked handler's WebSocket, or None. It stays when the connection ends, so that one can try what is raised then."""
        return self._stage.websocket if self._stage is not None else None

    @property
    def client(self) -> Client | None:
        """The client at the other end, or None until the handshake has made a WebSocket."""
        return self._stage.client if self._stage is not None else None

    @property
    def client_state(self) -> WebSocketState | None:
        """What Starlette keeps as ``websocket.client_state``; None before the first `connect`."""
        return self.websocket.client_state if self.websocket is not None else None

    @property
    def application_state(self) -> WebSocketState | None:
        """What Starlette keeps as ``websocket.application_state``; None before the first `connect`."""
        return self.websocket.application_state if self.websocket is not None else None

    # The method twins of the panel's controls.

    async def connect(self) -> None:
        """Start afresh, as the Connect button does: a new connection whose handler waits for your calls.

        The connection before is closed with 1001 and its handler returns. The client's handshake stays unanswered, for as
        long as you like, until you accept or refuse it.
        """
        with self._logged("panel", "connect") as row:
            began = time.perf_counter()
            number = await loops.background().run(self._connect())
            row.at = max(0.0, began - self.timeline.began)  # the first time, it is a Timeline that began meanwhile
            row.result = f"connection {number}: the handler is parked; the client waits for an answer to its handshake"

    async def stop(self) -> None:
        """End the connection, the handler and the server; safe to call twice. `connect` starts anew."""
        await loops.background().run(self._stop())

    async def send(self, message: Mapping[str, Any]) -> None:
        """Make the raw call ``await websocket.send(message)`` on the server's loop.

        What an error means is added to it as a note (PEP 678).

        Raises:
            RuntimeError: Starlette's, when the message is illegal now; nothing was sent.
            WebSocketDisconnect: with 1006, when the client is gone.
            KitError: nothing is connected.
        """
        with self._logged("handler", f"send({shown(message)})") as row:
            if not isinstance(message, Mapping) or "type" not in message:
                raise TypeError(f'send expects an ASGI message such as {{"type": "websocket.accept"}}, but got {message!r:.80}.')
            row.result = moved(APPLICATION, *await self.server.run(self._staged().send(message)))

    async def receive(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Make the raw call ``await websocket.receive()`` on the server's loop; returns the ASGI message.

        Waits for a message, at most ``timeout`` seconds; None waits on. Cancelling it, a timeout, or giving it up by pressing
        its button loses no message.

        Raises:
            RuntimeError: Starlette's, when nothing may be received any more.
            ReceiveTimeout: nothing came in time.
            KitError: it was given up, or nothing is connected.
        """
        with self._logged("handler", "receive()", "waiting for a message") as row:
            message, states = await self.server.run(self._staged().receive(timeout))
            row.result = f"{shown(message)} · {moved(CLIENT, *states)}"
            return message

    async def client_says(self, message: str | bytes) -> None:
        """Let the client send a text or a binary message; returns once its frame is written."""
        with self._logged("client", f"says {quoted(message) if isinstance(message, str) else short(message)}") as row:
            client = await self._open_client()
            await (client.send_text(message) if isinstance(message, str) else client.send_bytes(message))
            row.result = "sent; it waits on the server until the handler receives"

    async def client_closes(self, code: int = 1000, reason: str = "") -> None:
        """Let the client close with a code and a reason; returns when its socket has closed."""
        with self._logged("client", f"closes with {code} {quoted(reason)}" if reason else f"closes with {code}") as row:
            client = await self._open_client()
            await client.close(code, reason)
            row.result = _UNREAD if client.close_code == 1006 else "closed; the handler learns of it at its next receive"

    async def client_vanishes(self) -> None:
        """Let the client drop its socket without a Close frame; returns when the server has noticed."""
        with self._logged("client", "vanishes") as row:
            await loops.background().run(self._staged().vanish())
            row.result = "gone, without a goodbye; the handler learns of it at its next receive or send"

    def snapshot(self) -> None:
        """Put a static copy of the states and of the log into this cell's output, as HTML and text."""
        state = self._state()
        lines = [("log", redact(f"+{row['at']:.3f} [{row['who']}] {row['call']} → {row['result']} {row['meaning']}".rstrip())) for row in self._log.rows()]
        where = " · ".join(f"{attribute} {name or '–'}" for attribute, name in state["states"].items())
        show_snapshot(f"States of a WebSocket · {state['pill']} · {where}", lines)

    def close(self) -> None:
        """Remove the panel from the page, and stop its server, handler and client in the background; safe to call twice."""
        super().close()
        if self.server is not None and self.server.state == "serving":
            loops.background().submit(self._stop())

    # Connecting and leaving, on the clients' loop.

    async def _connect(self) -> int:
        async with self._changing:
            self._set_busy("connecting")
            try:
                await self._leave("the panel connects anew")
                server = await self._serving()
                stage = self._stage = Stage(server, self._refresh, self._note_foreign_call)
                await stage.begin()
            finally:
                self._set_busy("")
            self._numbers.add(stage.connection.number)
            loops.panels().call_soon(self._restart)
            return stage.connection.number

    async def _serving(self) -> Server:
        """This panel's server; another panel's is replaced."""
        if self.server is None or running_server(_NAME) is not self.server:
            self.server = await serve(self._app, name=_NAME, port=0)
        if self.timeline is not self.server.timeline:
            self.timeline, self._numbers = self.server.timeline, set()
            self._log.clear()
        return self.server

    async def _stop(self) -> None:
        async with self._changing:
            await self._leave("the panel was stopped")
            if self.server is not None:
                await self.server.stop()
            self._refresh()

    async def _leave(self, why: str) -> None:
        stage = self._stage
        if stage is not None:
            await stage.end(why)
            self._stage = None

    def _staged(self) -> Stage:
        if self._stage is None or self._stage.websocket is None:
            raise KitError(_NOT_CONNECTED)
        return self._stage

    async def _open_client(self) -> Client:
        stage = self._staged()
        client = await stage.open_client()
        if client is not None:
            return client
        why = "Send accept first; until then it can only vanish." if stage.connection.open else str(closing.explain(stage.connection))
        raise KitError(f"the client has no WebSocket: its handshake was not accepted. {why}")

    # The panel's side of the conversation with its front end.

    def _action(self, what: str, form: Mapping[str, Any]) -> Coroutine[Any, Any, Any] | None:
        match what, form.get("key"):
            case "connect", _:
                return None if self._busy else self.connect()
            case "call", "receive":
                return self._press_receive()
            case "call", str() as key if key in _CALLS:
                return self.send(_CALLS[key].message)
            case "client", "hello":
                return self.client_says("hello")
            case "client", "bytes":
                return self.client_says(b"\x00\xff")
            case "client", "close":
                return self.client_closes()
            case "client", "vanish":
                return self.client_vanishes()
        return None

    async def _press_receive(self) -> None:
        """Receive, or give up the receive that waits."""
        if self._stage is not None and self._stage.waits:
            await self.server.run(self._stage.give_up("its button was pressed again"))
        else:
            await self.receive()

    def _failed(self, error: Exception, form: Mapping[str, Any]) -> None:
        """Nothing more to show: the log has it."""

    def _begin(self) -> None:
        self._log.forget_entries()
        self._said = {}

    def _reset(self) -> dict[str, Any]:
        calls = [{"key": call.key, "label": call.label, "madeBy": call.made_by} for call in CALLS]
        return {"calls": calls, "machines": [drawn(CLIENT), drawn(APPLICATION)], "state": self._state(), "rows": self._log.rows()}

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        came = [row for row in map(row_of_the_client, entries) if row and row["number"] in self._numbers]
        rows = self._log.take(came)
        state = self._state()
        if not rows and state == self._said:
            return None
        self._said = state
        return {"state": state, "rows": rows}

    def _state(self) -> dict[str, Any]:
        """What is lit, marked and said now."""
        stage = self._stage
        serving = self.server is not None and self.server.state == "serving"
        state = state_of(stage) if stage is not None and stage.websocket is not None and serving else NOT_CONNECTED
        busy = {"pill": self._busy, "tone": "warning"} if self._busy else {}
        return {**state, **busy, "busy": bool(self._busy), "again": stage is not None}

    # The log.

    @contextlib.contextmanager
    def _logged(self, who: str, call: str, result: str = "") -> Iterator[Row]:
        """A row of the log for what is done inside: what came of it, or the error that it raised."""
        if self.server is None and who != "panel":
            raise KitError(_NOT_CONNECTED)
        row = self._new_row(who, call, result, tone="warning" if result else "plain")
        self._put(row)
        try:
            yield row
        except BaseException as error:
            row.tone = "warning" if type(error) in (asyncio.CancelledError, KitError, ReceiveTimeout) else "bad"
            row.result, row.meaning = described(error), " ".join(getattr(error, "__notes__", ()))
            raise
        else:
            row.tone = "plain"
        finally:
            self._put(row)

    def _note_foreign_call(self, verb: str, message: Mapping[str, Any]) -> None:
        call, result = ("receive()", shown(message)) if verb == "receive" else (f"send({shown(message)})", "passed on")
        self._put(self._new_row("handler", call, result, "Called past this panel."))

    def _new_row(self, who: str, call: str, result: str = "", meaning: str = "", tone: str = "plain") -> Row:
        return self._log.new(time.perf_counter() - self.timeline.began, who, call, result, meaning, tone)

    def _put(self, row: Row) -> None:
        """Show a row that is new or has changed; from any loop."""
        self._log.put(row)
        loops.panels().call_soon(self._show)

    def _show(self) -> None:
        """On the panels' loop: in order with what the Timeline tells, or at once while nobody looks."""
        if self._follower is not None:
            self._tick_soon(0.0)
        else:
            self._changes([], 0)

    def _set_busy(self, busy: str) -> None:
        self._busy = busy
        self._refresh()

    def _refresh(self) -> None:
        """Tell the state; from any loop."""
        loops.panels().call_soon(lambda: self._tell({"state": self._state()}))

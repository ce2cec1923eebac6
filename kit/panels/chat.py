"""ChatPanel: one client with its conversation, a message entry, its state in words, and why it ended."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from types import EllipsisType
from typing import Any

from kit import faults, loops
from kit.client import Client
from kit.connection import Connection
from kit.errors import HandshakeRefused, KitError
from kit.evidence import client_heard
from kit.panels import fault_form, handshake_form, message_form
from kit.panels.base import Panel, front_end
from kit.panels.chat_fold import ChatFold, ended_item
from kit.panels.chat_pill import pill_of
from kit.panels.seat import Seat
from kit.panels.snapshot import show_snapshot
from kit.printable import visible
from kit.recording import safe_entries
from kit.redaction import redact
from kit.server import Server
from kit.timeline import Entry, Timeline

__all__ = ["ChatPanel"]

_ERRORS_LIMIT = 500
_CONNECTIONS_LIMIT = 1_000  # as many as a Timeline remembers


class ChatPanel(Panel):
    """A chat client to look at and to type into: ``ChatPanel(server, "/ws", name="Ana")``.

    It connects only when asked: by its Connect button or by ``await panel.connect()``. It follows the server's *name*:
    when that server is replaced, a panel that was connected connects once more. Every click has a method twin, which may
    be awaited from any loop. A second panel of the same name for the same path takes the first one's place.

    Args:
        target: a server from `serve`, or the address of any server, for example ``"ws://127.0.0.1:8001"``.
        path: where the endpoint is; the reader can change it in the panel.
        name: who this client is.
        handshake: ``subprotocols``, ``headers``, ``cookies``, ``query`` and ``origin``, as `connect` takes them; the
            reader can change them in the panel, below *Handshake*.

    Raises:
        TypeError, ValueError: what `connect` would raise for these arguments.
    """

    _esm, _css = front_end("chat").values()

    def __init__(self, target: Server | str, path: str = "/", *, name: str = "client", **handshake: Any) -> None:
        timeline = target.timeline if isinstance(target, Server) else Timeline()
        super().__init__(timeline, title=f"Chat of {name}")
        self.name = name
        self._seat = Seat(target, timeline, name, self._dialling_changed)
        self._secrets: set[str] = set()
        self._connections: list[Connection] = []
        self._over = (0, 0)  # the last connection whose client was seen to be over, and how far the Timeline was
        self._errors: deque[dict[str, Any]] = deque(maxlen=_ERRORS_LIMIT)
        self._error_numbers = itertools.count(1)
        self._set_handshake(path, handshake_form.merged({}, handshake))
        self._begin()
        self._seat.take(self.path)

    @property
    def client(self) -> Client | None:
        """The client that is connected, or was last; None before the first."""
        return self._seat.client

    # The method twins of the panel's controls.

    async def connect(
        self,
        path: str | None = None,
        *,
        query: Mapping[str, Any] | EllipsisType | None = ...,
        cookies: Mapping[str, str] | EllipsisType | None = ...,
        headers: Mapping[str, str] | EllipsisType | None = ...,
        origin: str | EllipsisType | None = ...,
        subprotocols: Iterable[str] | EllipsisType | None = ...,
    ) -> Client:
        """Connect, as the Connect button does; a client that is still connected is closed first.

        What is given replaces what the panel had, and None or an empty value clears it; the rest stays. The panel keeps
        it all for the next time, also for when the server is replaced.

        Raises what `connect` raises; the panel shows it too.
        """
        given = {"query": query, "cookies": cookies, "headers": headers, "origin": origin, "subprotocols": subprotocols}
        with self._showing_errors():
            self._take(path, {name: value for name, value in given.items() if value is not ...})
        return await loops.background().run(self._dial())

    async def send(self, message: Any, kind: str = "text") -> None:
        """Send a message, as the Send button does; returns once its frame is written.

        Args:
            message: text; for ``kind="json"`` JSON text or any value that JSON can hold; for ``kind="binary"`` bytes or hex text.
            kind: ``"text"``, ``"json"`` or ``"binary"``.

        Raises:
            ValueError: not JSON, not hex, or not a kind; with what was expected.
            KitError: not connected, or no longer.
        """
        await message_form.send(self._present(), message, kind)

    async def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Close with a code and a reason, as the Disconnect button does; nothing happens when not connected."""
        await self._seat.leave(code, reason)

    async def abort(self) -> None:
        """Vanish without a Close frame, as the menu's Vanish does; nothing happens when not connected."""
        await self._seat.vanish()

    async def ping(self) -> float:
        """Send a ping and wait for its pong; returns the round trip in seconds."""
        return await self._present().ping()

    async def begin_fault(self, what: str, **settings: Any) -> None:
        """Bring about a fault that lasts until `end_fault`, as the menu's Faults do, for example ``"slow-network"``.

        Args:
            what: one of `kit.faults.FAULTS`.
            settings: what that fault takes besides the client, for example ``to_server_seconds=0.3``.

        Raises:
            ValueError: not a fault.
            KitError: not connected, or no longer, or this fault is on already.
        """
        if what not in faults.FAULTS:
            raise ValueError(f"begin_fault expects one of {', '.join(map(repr, faults.FAULTS))}, but got {what!r}.")
        await faults.FAULTS[what](self._present(), **settings).begin()

    async def end_fault(self, what: str) -> None:
        """End a fault, whoever began it; nothing happens when it is not on."""
        fault = self.client.faults.get(what) if self.client is not None else None
        if fault is not None:
            await fault.end()

    async def send_in_fragments(self, message: str, sizes: int | Iterable[int], *, ping_between: bool = False) -> None:
        """Send one message in several frames, as the menu does; see `kit.faults.send_in_fragments`."""
        await faults.send_in_fragments(self._present(), message, sizes, ping_between=ping_between)

    async def send_invalid_frame(self, kind: str) -> None:
        """Send a frame that breaks the protocol's rules, as the menu does; see `kit.faults.send_invalid_frame`."""
        await faults.send_invalid_frame(self._present(), kind)

    def snapshot(self) -> None:
        """Put a static copy of the conversation into this cell's output, as HTML and text, with secrets blotted out."""
        connections = {connection.number: connection for connection in self._connections}
        fold, rows = ChatFold(), []
        for entry in safe_entries(self.timeline.entries()):
            if entry.connection in connections or entry.kind == "notice":
                rows += [(item["from"], item["text"]) for item in fold.feed(entry).values()]
        rows += [("ended", redact(item["text"])) for item in map(ended_item, self._connections) if item]
        title = f"{self.name} · {visible(redact(str(self.path)))} · {self._state()['pill']}"
        without = functools.partial(handshake_form.without, self._secrets)
        show_snapshot(without(title), [(kind, without(text)) for kind, text in rows])

    def _present(self) -> Client:
        """Whoever sits here, connected or no longer."""
        if self.client is None:
            raise KitError(f"{self.name} is not connected. Press Connect, or run: await panel.connect()")
        return self.client

    # The panel's side of the conversation with its front end.

    def _action(self, what: str, form: Mapping[str, Any]) -> Coroutine[Any, Any, Any] | None:
        match what:
            case "connect":
                return self._connect_as_typed(form)
            case "send":
                return self.send(form.get("message", ""), form.get("kind", "text"))
            case "disconnect":
                return self._disconnect_as_typed(str(form.get("code") or "1000"))
            case "abort":
                return self.abort()
            case "ping":
                return self.ping()
            case "begin fault":
                return self._begin_fault_as_typed(str(form.get("fault")), form)
            case "end fault":
                return self.end_fault(str(form.get("fault")))
            case "send in fragments":
                return self._send_in_fragments_as_typed(form)
            case "send invalid frame":
                return self.send_invalid_frame(str(form.get("kind")))
        return None

    async def _connect_as_typed(self, form: Mapping[str, Any]) -> None:
        with self._showing_errors():
            self._take(form.get("path"), handshake_form.read(form))
        self._tell({"took": form.get("token"), "to": form.get("view"), "state": self._state()})
        await self._dial()

    def _take(self, path: str | None, given: Mapping[str, Any]) -> None:
        """Keep what is given for this connection and the next ones, or raise what is wrong with it and keep nothing."""
        self._set_handshake(self.path if path is None else path, handshake_form.merged(self._handshake, given))

    def _set_handshake(self, path: str, handshake: dict[str, Any]) -> None:
        self._seat.check(path, handshake)
        self.path, self._handshake, self._fields = path, handshake, handshake_form.filled_in(handshake)
        self._secrets |= handshake_form.secrets(path, handshake)

    async def _dial(self) -> Client:
        try:
            with self._showing_errors():
                client = await self._seat.dial(self.path, self._handshake)
        except HandshakeRefused as refusal:
            self._show(refusal.connection)
            raise
        self._show(client.connection)
        return client

    def _dialling_changed(self) -> None:
        self._tell({"state": self._state()})
        if not self._seat.dialling:
            self._wake()  # the server may have been replaced meanwhile

    @contextlib.contextmanager
    def _showing_errors(self) -> Iterator[None]:
        """Show, in this panel, what is raised; but a refusal is told by the connection that it ended."""
        try:
            yield
        except HandshakeRefused:
            raise
        except Exception as error:
            self._add_error(error)
            raise

    async def _disconnect_as_typed(self, code: str) -> None:
        if not code.strip().isdecimal():
            raise ValueError(f"a close code is a number such as 1000 or 4001, but got {code!r}. The connection stays open.")
        await self.disconnect(int(code))

    async def _begin_fault_as_typed(self, what: str, form: Mapping[str, Any]) -> None:
        await self.begin_fault(what, **fault_form.settings_for(what, form))

    async def _send_in_fragments_as_typed(self, form: Mapping[str, Any]) -> None:
        await self.send_in_fragments(str(form.get("message", "")), fault_form.size_in(form))

    def _failed(self, error: Exception, form: Mapping[str, Any]) -> None:
        if form.get("do") != "connect":  # connecting itself shows why it failed
            self._add_error(error)
        self._tell({"failed": form.get("token"), "field": getattr(error, "field", None), **({"to": form["view"]} if "view" in form else {})})

    def _begin(self) -> None:
        self._fold = ChatFold()
        for error in self._errors:
            self._fold.put(error)
        self._said: dict[str, Any] = {}

    def _reset(self) -> dict[str, Any]:
        return {
            "state": self._state(),
            "items": list(self._fold.items.values()),
            "examples": message_form.EXAMPLES | handshake_form.EXAMPLES,
            "offered": fault_form.OFFERED,
        }

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        numbers = {connection.number: connection for connection in self._connections}
        changed: dict[str, dict[str, Any]] = {}
        for entry in entries:
            if entry.connection in numbers or entry.kind == "notice":
                changed |= self._fold.feed(entry)
            if (
                entry.connection in numbers
                and entry.side == "client"
                and (entry.kind == "end" or (entry.kind == "response" and entry.details["status"] != 101))
            ):
                changed |= self._note_end(numbers[entry.connection])
        if self._connections and self._told_whole(self._connections[-1]):
            changed |= self._note_end(self._connections[-1])  # its handler may have said more since
        if self._seat.should_return():
            loops.background().submit(self._guarded(self.connect(), {"do": "connect"}))
        state = self._state()
        if not changed and state == self._said:
            return None
        self._said = state
        return {"state": state, "items": list(changed.values()), "skipped": skipped}

    def _wants_ticks(self) -> bool:
        return bool(self._views) or self._seat.returns

    def _state(self) -> dict[str, Any]:
        """What the header says: the pill, its tone, and what can be done now."""
        connection = self._connections[-1] if self._connections else None
        dialling, connected, on = self._seat.dialling, self._seat.connected, [*self.client.faults] if self.client is not None else []
        pill, tone = pill_of(connection, dialling=dialling, connected=connected, faults=on)
        number = connection.number if connection else None
        shown = {"name": self.name, "fields": {"path": self.path, **self._fields}, "pill": pill, "tone": tone, "number": number}
        return {**shown, "open": connected, "busy": dialling, "faults": on}

    def _told_whole(self, connection: Connection) -> bool:
        """Whether the client's end is over, and all that it did has been taken in from the Timeline."""
        if connection.open or not client_heard(connection):
            return False
        if self._over[0] != connection.number:
            self._over = connection.number, self.timeline.last_number
        return self._follower is None or self._follower.delivered >= self._over[1]

    def _note_end(self, connection: Connection) -> dict[str, dict[str, Any]]:
        """The item that explains why ``connection`` ended, by its id, when there is one and it says something new."""
        item = ended_item(connection)
        if item is None or self._fold.items.get(item["id"]) == item:
            return {}
        return self._fold.put(item)

    def _add_error(self, error: Exception) -> None:
        """Add what went wrong, which no Entry tells; from any loop."""
        item = {"id": f"error {next(self._error_numbers)}", "from": "error", "text": visible(str(error))}
        loops.panels().call_soon(self._put_error, item)

    def _put_error(self, item: dict[str, Any]) -> None:
        self._errors.append(item)
        self._tell({"items": [*self._fold.put(item).values()]})

    def _show(self, connection: Connection | None) -> None:
        """Follow one more connection: what it has done so far is read from the Timeline."""
        if connection is not None:
            self._connections = [*self._connections, connection][-_CONNECTIONS_LIMIT:]  # replaced, never changed: other loops read it
        loops.panels().call_soon(self._restart)

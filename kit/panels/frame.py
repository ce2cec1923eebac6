"""FramePanel: the wire of one connection, its handshake and its frames bit by bit, live or out of a recording."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from kit import loops
from kit.client import Client
from kit.panels.base import ListPanel, followed, front_end
from kit.panels.frame_files import Uploads, parts_of
from kit.panels.frame_rows import choice_of, fate_of, line_of, plain
from kit.panels.snapshot import show_snapshot
from kit.printable import visible
from kit.recording import RecordingReader, is_path, lines_of, read_recording, safe_entries, write_recording
from kit.server import Server
from kit.timeline import Entry, Timeline
from kit.wire_inspection import inspected
from kit.wire_rows import FrameRow, WireRows

__all__ = ["FramePanel"]

_ROWS_A_MESSAGE = 500  # of a flood; what it left unsaid is told when the flood is over
_FLOOD_PAUSE_SECONDS = 0.45
_CONNECTIONS_LISTED = 200
_FILTER = {"direction": "all", "kind": "all", "find": "", "regular": False, "only": False}
_CHOICES = {"direction": ("all", "up", "down"), "kind": ("all", "text", "binary", "control", "handshake")}


class FramePanel(ListPanel):
    """The wire of one connection: ``FramePanel(server)``, ``FramePanel(client)`` or ``FramePanel(timeline)``.

    One row a frame, with what each end saw of it. Secrets are shown live; exports and snapshots have them blotted out.

    Args:
        source: whose connections to look at.
        connection: the number of one of them; None looks at a client's own, or else always at the newest.
    """

    _esm, _css = front_end("frame").values()

    def __init__(self, source: Server | Client | Timeline, connection: int | None = None) -> None:
        timeline = followed(source)
        super().__init__(timeline, title=_title(source))
        self._live = timeline
        self._recording = ""
        self._wanted = source.number if connection is None and isinstance(source, Client) else connection
        self._filter = dict(_FILTER)
        self._uploads = Uploads()
        self._exporting: set[str] = set()  # the views
        self._begin()

    @classmethod
    def from_recording(cls, source: str | Path) -> FramePanel:
        """A panel that shows a recording: its file's path, or its text. No server is needed.

        Raises:
            RecordingError: it is no recording.
        """
        panel = cls(read_recording(source))
        panel._recording = _name_of(source)
        return panel

    # The method twins of the panel's controls.

    def look_at(self, number: int | None) -> None:
        """Look at the connection with this number, as choosing it in the panel does; None: always at the newest.

        Raises:
            ValueError: there is none with this number.
        """
        known = [connection.number for connection in self.timeline.connections]
        if number is not None and number not in known:
            listed = ", ".join(map(str, known[-20:])) or "none yet"
            raise ValueError(f"expected the number of a connection ({listed}), or None for the newest, but got {number!r:.80}.")
        self._wanted = number
        loops.panels().call_soon(self._look_again)

    def filter(self, *, direction: str = "all", kind: str = "all", find: str = "", regular: bool = False, only: bool = False) -> None:
        """Choose and find rows, as the controls above the list do; without arguments everything is shown.

        Args:
            direction: ``"all"``, ``"up"`` from client to server, or ``"down"``.
            kind: ``"all"``, ``"text"``, ``"binary"``, ``"control"`` or ``"handshake"``.
            find: what to find in the first 256 characters of payloads.
            regular: ``find`` is a regular expression of the browser's. It is given half a second there, then it is stopped.
            only: show only the rows that were found.

        Raises:
            ValueError: not one of these directions or kinds.
        """
        asked = {"direction": direction, "kind": kind, "find": str(find)[:1_000], "regular": bool(regular), "only": bool(only)}
        for name, choices in _CHOICES.items():
            if asked[name] not in choices:
                raise ValueError(f"expected {name} to be one of {', '.join(choices)}, but got {asked[name]!r:.80}.")
        self._filter = asked
        self._tell({"filter": asked})

    async def inspect(self, key: str) -> dict[str, Any]:
        """What opening a row shows. Keys are ``"request"``, ``"response"``, and ``"up 7"`` or ``"down 8"``: a frame's direction and first Entry.

        Raises:
            KeyError: no such row.
        """
        return await loops.panels().run(self._inspected(key))

    def export(self, path: str | Path | None = None) -> str:
        """All that the Timeline holds, of every connection, as JSON Lines with secrets blotted out; also written to ``path`` if given.

        From any thread. Payloads longer than 1 MiB, and what is older than the newest 60 MiB, are left out and counted in the first line.
        """
        text = write_recording(self.timeline)
        if path is not None:
            Path(path).write_text(text, "utf-8")
        return text

    async def open_recording(self, source: str | bytes | Path) -> None:
        """Show a recording in this panel, as its Open button does; `back_to_live` shows again what it showed.

        Raises:
            RecordingError: it is no recording; the panel goes on as it was.
        """
        await loops.panels().run(self._open_recording(source, _name_of(source)))

    async def back_to_live(self) -> None:
        """Show again what the panel was made for, as its button does."""
        await loops.panels().run(self._show(self._live, ""))

    def snapshot(self) -> None:
        """Put a static copy of the rows into this cell's output, as HTML and text, with secrets blotted out."""
        number = self._number_now()
        fold = WireRows()
        fold.feed(safe_entries(self.timeline.entries(connection=number)))
        show_snapshot(f"The wire of connection {number or '–'}", [("log", line_of(row)) for row in fold.rows])

    # What it follows; all on the panels' loop.

    def _begin(self) -> None:
        self._number = self._number_now()
        self._fold = WireRows()
        self._seen = 0
        self._skipped = 0
        self._untold = False
        self._said: dict[str, Any] = {}

    def _follow(self) -> None:
        joins = self._follower is None
        super()._follow()
        self._untold = self._untold and not joins  # who has just come is about to be told everything
        self._uploads.keep_only(self._views)

    def _number_now(self) -> int | None:
        connections = self.timeline.connections
        return self._wanted if self._wanted is not None else connections[-1].number if connections else None

    def _look_again(self) -> None:
        """Read the Timeline anew for the connection that is wanted now, and tell every view."""
        self._read()
        self._tell(self._all_anew())

    def _read(self) -> None:
        self._begin()
        self._feed(self.timeline.entries(connection=self._number))

    def _feed(self, entries: list[Entry]) -> list[FrameRow]:
        wanted = [entry for entry in entries if entry.number > self._seen and self._concerns(entry)]
        self._seen = max(self._seen, entries[-1].number) if entries else self._seen
        return self._fold.feed(wanted)

    def _concerns(self, entry: Entry) -> bool:
        return entry.connection is not None and entry.connection == self._number

    def _reset(self) -> dict[str, Any]:
        return {"rows": [plain(row) for row in self._fold.rows], "state": self._state(), "filter": self._filter}

    def _all_anew(self) -> dict[str, Any]:
        """Everything, for every view: none of them lacks anything then."""
        reset = self._reset()
        self._untold, self._said = False, reset["state"]
        return {**reset, "reset": True}

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        if self._number_now() != self._number:
            self._read()
            return self._all_anew()
        self._skipped += skipped
        self._untold = self._untold or skipped > 0
        rows = self._feed(entries)
        if self._untold and len(rows) <= _ROWS_A_MESSAGE // 5:
            self._read()  # the flood is over: what was skipped is still in the Timeline
            return self._all_anew()
        self._note_flood(len(rows))
        state = self._state()
        if not rows and state == self._said:
            return None
        self._said = state
        return {"rows": [plain(row) for row in rows[-_ROWS_A_MESSAGE:]], "state": state}

    def _note_flood(self, rows: int) -> None:
        """In a flood only the newest are told; see to it that the rest is told afterwards."""
        self._untold = self._untold or rows > _ROWS_A_MESSAGE
        if self._untold:
            loops.panels().call_soon(self._tick_soon, _FLOOD_PAUSE_SECONDS)

    def _state(self) -> dict[str, Any]:
        connections = self.timeline.connections
        looked = next((connection for connection in connections if connection.number == self._number), None)
        newest = connections[-_CONNECTIONS_LISTED:]
        listed = newest if looked is None or looked in newest else [looked, *newest]
        return {
            "number": self._number,
            "newest": self._wanted is None,
            "connections": [choice_of(connection) for connection in listed],
            "stranger": looked is not None and looked.name == "stranger",
            "older": self._fold.dropped,
            "skipped": self._skipped,
            "fallen": self.timeline.statistics().entries_dropped,
            "recording": self._recording,
            "live": self._live is self.timeline,
            **fate_of(looked),
        }

    # What clicks ask for.

    def _action(self, what: str, form: dict[str, Any]) -> Coroutine[Any, Any, None] | None:
        match what:
            case "look":
                return self._look_from(form.get("number"))
            case "inspect":
                return self._tell_inspected(str(form.get("key", "")), form.get("number", self._number), form["view"])
            case "export":
                return loops.panels().run(self._tell_export(form["view"]))
            case "open":
                return loops.panels().run(self._take_upload(form))
            case "live":
                return self.back_to_live()
        return None

    async def _look_from(self, number: Any) -> None:
        self.look_at(number)

    async def _tell_inspected(self, key: str, number: Any, view: str) -> None:
        """Tell a view of a row; one that is paused may still show the connection before."""
        try:
            if number != self._number:
                raise KeyError(key)
            found = await self.inspect(key)
        except KeyError:
            found = {"key": key, "seen": "", "payload": None, "payloadSays": "This row has left the list: only its beginning is known."}
        self._tell({"inspected": found, "to": view})

    async def _inspected(self, key: str) -> dict[str, Any]:
        if self._follower is None:
            self._read()
        row = self._fold.row(key)
        if row is None:
            raise KeyError(f"expected the key of a row, such as 'request', but got {key!r:.80}.")
        client, server = (self.timeline.entry(number) if number else None for number in (row.client_entry, row.server_entry))
        return inspected(row, client, server, stranger=self._state()["stranger"], key=self._handshake_key())

    def _handshake_key(self) -> str:
        row = self._fold.row("request")
        request = self.timeline.entry(row.client_entry or row.server_entry or 0) if row else None
        headers = request.details["headers"] if request else ()
        return next((value for name, value in headers if name.lower() == "sec-websocket-key"), "")

    async def _tell_export(self, view: str) -> None:
        """Send a view the file in parts, which it puts together; one file at a time."""
        if view in self._exporting:
            return
        self._exporting.add(view)
        try:
            text = await loops.aside(self.export)
            for part in parts_of(f"connections-{self.timeline.began_at:.0f}.jsonl", text):
                if part["part"]:
                    await asyncio.sleep(0.05)  # other panels are told meanwhile
                if view in self._views:
                    self._tell({"exported": part, "to": view})
        finally:
            self._exporting.discard(view)

    async def _take_upload(self, form: dict[str, Any]) -> None:
        """One part of a file that the browser reads; the last one opens it."""
        whole = self._uploads.take(form)
        if whole is not None:
            await self._open_recording(whole, str(form.get("name", ""))[:200])

    async def _open_recording(self, source: str | bytes | Path, name: str) -> None:
        reader = RecordingReader()
        for index, line in enumerate(lines_of(source)):
            reader.read(line)
            if index % 100 == 99:
                await asyncio.sleep(0)  # other panels are told meanwhile
        await self._show(reader.timeline(), name)

    async def _show(self, timeline: Timeline, recording: str) -> None:
        self._unfollow()
        self.timeline, self._recording, self._wanted = timeline, visible(recording), None
        self._follow()
        self._tell({**self._all_anew(), "beganAt": timeline.began_at})


def _title(source: Any) -> str:
    return (
        f"Frames of server {source.name}"
        if isinstance(source, Server)
        else f"Frames of {source.name}"
        if isinstance(source, Client)
        else "Frames of a Timeline"
    )


def _name_of(source: Any) -> str:
    """A file's name, or what to call a recording that is none."""
    return visible(Path(source).name[:200]) if is_path(source) else "a recording"

"""ServerPanel: a server's address, its connections with both states, and its handlers' live log."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any

from kit import closing, loops
from kit.connection import Connection
from kit.errors import KitError
from kit.evidence import settled
from kit.panels.base import ListPanel, front_end
from kit.panels.by_name import ServersPanel
from kit.panels.snapshot import show_snapshot
from kit.printable import quoted, visible
from kit.recording import safe_entries
from kit.rows import hub_words
from kit.server import Server
from kit.timeline import Entry
from kit.watch import Blocked

__all__ = ["ServerPanel", "head_of"]

_LOG_LIMIT = 500
_CONNECTIONS_SHOWN = 50


class ServerPanel(ServersPanel, ListPanel):
    """What a server does, live: ``ServerPanel(server)``, or just ``server`` at the end of a cell.

    It follows the server's *name*: a server that replaces it goes on in the same panel, below a divider.
    """

    _esm, _css = front_end("server").values()

    def __init__(self, server: Server) -> None:
        super().__init__(server, "Server")
        self._begin()

    def explain(self, number: int) -> closing.Explanation:
        """Why the connection of that number ended, as the row that is opened shows it.

        Raises:
            KitError: it has not ended, or is not among the newest 1,000.
        """
        connection = next((known for known in self.timeline.connections if known.number == number), None)
        if connection is None or not _has_ended(connection):
            raise KitError(f"connection {number} {'is not known here' if connection is None else 'has not ended'}, so there is no end to explain.")
        return closing.explain(connection)

    def snapshot(self) -> None:
        """Put a static copy of the log into this cell's output, as HTML and text, with secrets blotted out."""
        rows = map(_log_row, safe_entries(self.timeline.entries()[-_LOG_LIMIT:]))
        lines = [("log", _log_line(row)) for row in rows if row]
        show_snapshot(f"Server {self.server.name} · {self.server.url} · {self.server.state}", lines)

    def _action(self, what: str, form: dict[str, Any]) -> Coroutine[Any, Any, None] | None:
        return self._tell_the_end(form) if what == "explain" else None

    async def _tell_the_end(self, form: dict[str, Any]) -> None:
        number = form.get("number")
        self._tell({"explained": {"number": number, "table": [list(fact) for fact in self.explain(number).table]}, "to": form["view"]})

    def _begin(self) -> None:
        self._log: deque[dict[str, Any]] = deque(maxlen=_LOG_LIMIT)
        self._said: dict[str, Any] = {}

    def _reset(self) -> dict[str, Any]:
        return {"state": self._state(), "rows": list(self._log)}

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        rows = [row for row in map(_log_row, entries) if row]
        self._log.extend(rows)
        state = self._state()
        if state["blocked"]:
            loops.panels().call_soon(self._tick_soon, 0.25)
        changes: dict[str, Any] = {"rows": rows, "skipped": skipped} if rows or skipped else {}
        if state != self._said:
            changes["state"] = self._said = state
        return changes or None

    def _state(self) -> dict[str, Any]:
        """The header and the table of connections."""
        server, blocked = self.server, self.server.blocked
        return {
            **head_of(server),
            "blocked": _blocked_words(blocked),
            "blockedNumber": blocked.connection if blocked else None,
            "connections": [_connection_row(connection) for connection in self.timeline.connections[-_CONNECTIONS_SHOWN:]],
        }


def _blocked_words(blocked: Blocked | None) -> str:
    if blocked is None:
        return ""
    if blocked.place is None:
        return f"A process has not answered for {blocked.since_seconds:.1f} s: where it is cannot be seen from here."
    return f"Blocked for {blocked.since_seconds:.1f} s: nothing else is served until this line ends. {visible(str(blocked.place))}"


def head_of(server: Server) -> dict[str, Any]:
    """What a header says of a server: its name, address and state, and how many connections it has."""
    connections = server.timeline.connections
    pill, tone = _state_of(server)
    still_open = sum(connection.open for connection in connections)
    count = f"{still_open} open · {len(connections) - still_open} closed"
    return {"name": server.name, "url": server.url, "pill": pill, "tone": tone, "count": count}


def _state_of(server: Server) -> tuple[str, str]:
    """A server's state in a word or two, and its tone."""
    processes, serving = server.processes, server.state == "serving"
    left = sum(process.state == "serving" for process in processes)
    if serving and left < len(processes):
        none_left = "no process left" if all(process.state == "ended" for process in processes) else "no process answers"
        return (f"{left} of {len(processes)} processes", "warning") if left else (none_left, "bad")
    return ("blocked", "bad") if server.blocked else (server.state, "good" if serving else "muted")


def _connection_row(connection: Connection) -> dict[str, Any]:
    explanation = closing.explain(connection) if _has_ended(connection) else None
    return {
        "number": connection.number,
        "name": visible(connection.name) or "stranger",
        "stranger": connection.name == "stranger",
        "path": visible(connection.path),
        "process": visible(connection.process or ""),
        "client": _state_words(connection, connection.client_state),
        "application": _state_words(connection, connection.application_state),
        "states": _why_they_stay(connection),
        "pill": explanation.pill if explanation else "",
        "tone": explanation.severity if explanation else "good",
        "why": visible(str(explanation)) if explanation else "",
        "told": visible(f"{explanation.headline}. {explanation.sentence}") if explanation else "",
        "settled": settled(connection),
    }


def _state_words(connection: Connection, state: str | None) -> str:
    """A state as Starlette has it; beside a connection that has ended, one that speaks of life is told as what it was."""
    if state in (None, "DISCONNECTED") or not _has_ended(connection):
        return state or "–"
    return f"{'was' if _handler_is_over(connection) else 'still'} {state}"


def _why_they_stay(connection: Connection) -> str:
    """Why a state is not DISCONNECTED although the connection has ended: Starlette's states are moved by the handler's own calls."""
    if not _has_ended(connection):
        return ""
    yet = "" if _handler_is_over(connection) else " yet"
    client, application = connection.client_state, connection.application_state
    stays = []
    if client not in (None, "DISCONNECTED"):
        stays.append(f"`client_state` stays {client}: only what the handler receives moves it, and it has received no disconnect{yet}.")
    if application not in (None, "DISCONNECTED"):
        stays.append(f"`application_state` stays {application}: only what the handler sends moves it, and it has sent no close{yet}.")
    return " ".join(stays)


def _handler_is_over(connection: Connection) -> bool:
    return bool(connection.handler_returned or connection.handler_error or connection.process_ended)


def _has_ended(connection: Connection) -> bool:
    return not connection.open or connection.refused_status is not None


def _log_row(entry: Entry) -> dict[str, Any] | None:
    """One line of the log, or None for what the log leaves to the wire."""
    words = _log_words(entry)
    if words is None:
        return None
    mark, text, tone = words
    process = str(entry.details.get("process") or "")
    said = visible(process) if process not in entry.text else ""
    return {"id": entry.number, "at": entry.at_seconds, "number": entry.connection, "mark": mark, "text": text, "tone": tone, "process": said}


def _log_line(row: dict[str, Any]) -> str:
    """The same line as text."""
    process = f" · {row['process']}" if row["process"] else ""
    return f"+{row['at']:.3f} [{row['number'] or '–'}] {row['mark']} {row['text']}{process}"


def _log_words(entry: Entry) -> tuple[str, str, str] | None:
    match entry.kind:
        case "asgi-receive":
            return "←", _asgi_words("receive", entry), "plain"
        case "asgi-send":
            hopped = " (from another loop)" if entry.details.get("hopped") else ""
            return "→", _asgi_words("send", entry) + hopped, "plain"
        case "print" | "log":
            return entry.kind, visible(entry.text), "warning" if entry.details.get("level") in ("WARNING", "ERROR", "CRITICAL") else "plain"
        case "error":
            where = [visible(line) for line in entry.details.get("lines", ())]
            return "error", "\n".join([visible(entry.text), *(f"  {line}" for line in where)]), "bad"
        case "end" if entry.details["what"] == "handler":
            return "·", "the handler returned", "muted"
        case "hub":
            return "hub", hub_words(entry), "plain"
        case "fault":
            return "fault", visible(entry.text), "warning"
        case "notice":
            return "—", visible(entry.text), "warning" if entry.details.get("what") == "blocked" else "muted"
    return None


def _asgi_words(verb: str, entry: Entry) -> str:
    kind = entry.details["type"].removeprefix("websocket.")
    if kind in ("receive", "send"):
        binary = isinstance(entry.payload, bytes) and entry.size
        return f"{verb} {'bytes ' + entry.text[:60] if binary else 'text ' + quoted(entry.text)}"
    more = [str(entry.details[key]) for key in ("code", "reason", "status", "subprotocol") if entry.details.get(key) not in (None, "")]
    return " ".join([verb, kind, *map(visible, more)])

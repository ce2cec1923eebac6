"""HandlerPanel: the source of the reader's handlers, with a mark on the line where each one waits right now."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from kit import loops
from kit.connection import Connection
from kit.endpoints import Endpoint, Routing
from kit.listing import Listing, code_of
from kit.panels.base import front_end
from kit.panels.by_name import ServersPanel
from kit.panels.handler_marks import Endings, Mark, Stopwatch, grouped, marks_of, name_of
from kit.panels.handler_sections import Sections
from kit.panels.snapshot import show_snapshot
from kit.printable import visible
from kit.redaction import redact
from kit.server import Server
from kit.suspension import Suspension, suspensions_of, tasks_by_connection
from kit.watch import Blocked

__all__ = ["HandlerPanel"]

PAUSE_SECONDS = 0.1  # between two looks, at least
_LONGEST_PAUSE_SECONDS = 1.0
_COST = 0.03  # the share of one processor that looking may take
_LOOKS_A_READING = 20  # the app's routes are read again this rarely
_TURN = 20  # connections looked at before others get a turn


class HandlerPanel(ServersPanel):
    """The handlers' source with every connection on its line: ``HandlerPanel(server)``, or of one route, ``HandlerPanel(server, "/ws")``.

    It follows the server's *name*. Nothing is traced: while the panel is displayed it looks, from a loop of its own, at most
    ten times a second at where each handler's task is suspended, and more rarely when that would take more than 3 % of a processor.

    Args:
        server: the server, as `serve` returns it.
        path: a route's path as it was written, or one that a client asks for; None follows all that have had connections.

    Raises:
        TypeError: not a server.
    """

    _esm, _css = front_end("handler").values()

    def __init__(self, server: Server, path: str | None = None) -> None:
        super().__init__(server, "Handlers of server")
        self._path = path
        self._watching: asyncio.Task[None] | None = None
        self._begin()

    def snapshot(self) -> None:
        """Put a static copy of the source and the marks, as last seen, into this cell's output, as HTML and text."""
        rows: list[tuple[str, str]] = []
        for listing in self._sections.shown:
            rows.append(("log", f"{listing.title} · {listing.where}"))
            for number, pieces in enumerate(listing.lines, listing.first_line):
                here = [mark for mark in self._marks if (mark["section"], mark["line"]) == (listing.key, number)]
                rows.append(("log", f"{number:>4}  {''.join(text for _, text in pieces)}"))
                rows += [("ended", redact(f"{mark['numbers']} {mark['text']}")) for mark in here]
        show_snapshot(f"Handlers of server {self.server.name}", rows)

    # On the panels' loop, and only while the panel is displayed.

    def _begin(self) -> None:
        self._sections = Sections()
        self._stopwatch = Stopwatch()
        self._endings = Endings()
        self._before: dict[Connection, list[Suspension]] = {}
        self._earliest: dict[int, float] = {}
        self._marks: list[dict[str, Any]] = []
        self._state: dict[str, Any] = {"pill": self.server.state, "tone": "muted", "count": "", "blocked": "", "hint": "", "hidden": 0}
        self._said: dict[str, Any] = {}
        self._routing: Routing | None = None
        self._looks = 0

    def _follow(self) -> None:
        if not self._views or (self._watching is not None and not self._watching.done() and self._watching.get_loop() is asyncio.get_running_loop()):
            return
        self._begin()
        self._earliest = self._last_messages()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while self._views:
            try:
                with loops.giving_way():
                    cost_seconds = await self._look()
            except Exception as error:  # an app of a kind that nobody has met: say so, and go on
                cost_seconds = PAUSE_SECONDS * _COST
                self._state = {**self._state, "hint": visible(f"This app's handlers cannot be followed: {type(error).__name__}: {error}")[:1_000]}
            with loops.giving_way():
                self._tell_changes()
            await asyncio.sleep(min(max(PAUSE_SECONDS, cost_seconds / _COST), _LONGEST_PAUSE_SECONDS))

    def _tell_changes(self) -> None:
        changes = {key: value for key, value in self._picture().items() if self._said.get(key) != value}
        if changes:
            self._said |= changes
            self._tell({**changes, "now": self._now()})

    def _reset(self) -> dict[str, Any]:
        return {**self._picture(), "now": self._now()}

    def _picture(self) -> dict[str, Any]:
        paths = self._sections.paths
        sections = [_section(listing, paths.get(listing.key, "")) for listing in self._sections.shown]
        return {"state": self._state, "sections": sections, "marks": self._marks}

    def _now(self) -> float:
        return time.perf_counter() - self.timeline.began

    def _last_messages(self) -> dict[int, float]:
        """When each handler last received or sent: before that it cannot have begun to wait where it is now."""
        if not any(connection.handler_task for connection in self.timeline.connections):
            return {}
        return {entry.connection: entry.at_seconds for entry in self.timeline.entries() if entry.connection and entry.kind in ("asgi-receive", "asgi-send")}

    # One look.

    async def _look(self) -> float:
        """Look at every handler once; returns the seconds of processor time that it took."""
        routing = self._routing_now()
        endpoints, followed = self._followed(routing)
        living = [connection for connection in followed if connection.handler_task is not None]
        self._sections.choose(endpoints, routing, followed)
        spent, began = 0.0, time.thread_time()  # reading the source is done once
        tasks = _tasks_of(living)
        own = {code for endpoint in endpoints if (code := code_of(endpoint.function)) is not None}
        blocked, marks = self.server.blocked, list[Mark]()
        for index, connection in enumerate(living, 1):
            marks += self._marks_of(connection, tasks.get(connection, []), own, blocked is not None)
            if index % _TURN == 0:
                spent += time.thread_time() - began
                await asyncio.sleep(0)
                began = time.thread_time()
        self._stopwatch.forget_the_rest()
        self._before = {connection: before for connection, before in self._before.items() if connection.handler_task is not None}
        marks += self._endings.fold(followed, self._now())
        spent += time.thread_time() - began
        paths = {connection.number: connection.path for connection in followed}
        self._marks = grouped(marks, lambda mark: self._sections.place(mark.line, paths.get(mark.number, "")))
        self._state = self._header(living, blocked)
        return spent

    def _routing_now(self) -> Routing:
        """The app's routes, read again when the server has another app, and now and then because routes may be added."""
        self._looks += 1
        known, app = self._routing, self.server.app
        if known is None or known.app is not app or self._looks % _LOOKS_A_READING == 0:
            read = Routing(app)
            if known is None or known.app is not app or read.endpoints != known.endpoints:
                self._routing = known = read
        return known

    def _followed(self, routing: Routing) -> tuple[list[Endpoint], list[Connection]]:
        connections = self.timeline.connections
        if self._path is None:
            return routing.endpoints, connections
        endpoints = [endpoint for endpoint in routing.endpoints if endpoint.serves(self._path)]
        return endpoints, [connection for connection in connections if any(routing.endpoint_of(connection.path) is one for one in endpoints)]

    def _marks_of(self, connection: Connection, tasks: list[Any], own: set[Any], blocked: bool) -> list[Mark]:
        task = connection.handler_task
        if task is None:
            return []
        others = [other for other in tasks if other is not task]
        suspensions = suspensions_of(task, others, connection=connection, running=self.server.frame, own=own, threads=loops.thread_frames)
        if suspensions[0].wait.kind == "ready" and connection in self._before:  # it goes on this very moment: the next look will see where
            suspensions = self._before[connection]
        if suspensions[0].wait.kind == "runs":
            held = self._before[connection][0].held if connection in self._before else ()
            suspensions[0] = suspensions[0]._replace(held=held, wait=suspensions[0].wait._replace(kind="blocks" if blocked else "runs"))
        self._before[connection] = suspensions
        now = self._now()
        marks = marks_of(connection, suspensions, self._stopwatch, now, self._earliest.pop(connection.number, now))
        self._endings.lives(connection, marks[0].line)
        return marks

    def _header(self, living: list[Connection], blocked: Blocked | None) -> dict[str, Any]:
        server = self.server
        culprit = next((name_of(connection) for connection in living if blocked and connection.number == blocked.connection), "one handler")
        return {
            "pill": "blocked" if blocked else server.state,
            "tone": "bad" if blocked else "good" if server.state == "serving" else "muted",
            "count": "" if server.processes else f"{len(living)} now",
            "blocked": f"Nobody is served until {culprit} lets go of the loop." if blocked else "",
            "hint": self._hint(living),
            "hidden": self._sections.hidden,
        }

    def _hint(self, living: list[Connection]) -> str:
        if self.server.processes:
            return "These handlers run in other processes, where this panel cannot look."
        if not self._sections.shown:
            where = f"with the path {self._path!r}" if self._path else "that the kit can see"
            return f"This app has no WebSocket route {where}. Once a handler runs, the functions that it is in appear here."
        if not living and not self._marks:
            return "Nobody is connected now. Connect a client, and a numbered mark shows on which line its handler waits."
        return ""


def _tasks_of(connections: list[Connection]) -> dict[Connection, list[Any]]:
    """The tasks that serve each connection, on whichever loops they run."""
    tasks = [task for connection in connections if (task := connection.handler_task) is not None]
    found: dict[Connection, list[Any]] = {}
    for loop in {task.get_loop() for task in tasks}:
        found |= tasks_by_connection(loop)
    return found


def _section(listing: Listing, path: str) -> dict[str, Any]:
    return {
        "key": listing.key,
        "title": listing.title,
        "path": path,
        "where": listing.where,
        "first": listing.first_line,
        "lines": listing.lines,
        "note": listing.note,
    }

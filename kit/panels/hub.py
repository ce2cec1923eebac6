"""HubPanel: a hub's rooms, who is in them, what waits for whom, and how its broker is, live."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

from kit import loops
from kit.errors import LoopStopped
from kit.hub.errors import HubError
from kit.hub.hub import Hub
from kit.hub.message import check_room
from kit.hub.statistics import HubStatistics, QueueStatistics, RoomStatistics
from kit.panels.base import Panel, front_end
from kit.panels.hub_rows import elsewhere_row, header_of, in_order, member_row, member_text, room_row, summary_of
from kit.panels.snapshot import show_snapshot
from kit.printable import visible
from kit.redaction import redact
from kit.timeline import Timeline

__all__ = ["HubPanel"]

_PAUSE_SECONDS = 0.2  # between two looks, at least
_LONGEST_PAUSE_SECONDS = 2.0
_COST = 0.03  # the share of one processor that looking may take
_ROOMS_SHOWN = 100
_MEMBERS_SHOWN = 200
_ASK_SECONDS = 20.0  # between two questions who is in the chosen room elsewhere: the hub follows a room for longer than that
_LEFT_SECONDS = 3.0  # for how long one that left of its own accord is still shown
_LET_GO_SHOWN = 20  # of those that the hub let go, or that missed something, the last: why is worth reading


class HubPanel(Panel):
    """What a hub does, seen from above: ``HubPanel(hub)``.

    While the panel is in view it looks at ``hub.statistics()`` at most five times a second, and more rarely when that would
    take more than 3 % of a processor. It also has the hub ask others who is in the chosen room (`Hub.present`). The hub may be
    opened later, closed, and opened again.

    Args:
        hub: a `Hub`, open or not.

    Raises:
        TypeError: not a hub.
    """

    _esm, _css = front_end("hub").values()

    def __init__(self, hub: Hub) -> None:
        if not isinstance(hub, Hub):
            raise TypeError(f'HubPanel expects a hub such as Hub("memory://"), but got {hub!r:.80}.')
        self.hub = hub
        super().__init__(Timeline(), title=f"Hub {visible(hub.statistics().url)}")
        self._out_of_sight: set[str] = set()
        self._watching: asyncio.Task[None] | None = None
        self._chosen: str | None = None
        self._seen: HubStatistics | None = None
        self._left_at: dict[str, float] = {}
        self._asking: asyncio.Task[None] | None = None
        self._asked: tuple[str | None, float] = (None, 0.0)  # for which room, and when
        self._said: dict[str, Any] = {}

    @property
    def chosen(self) -> str | None:
        """The room whose members are shown: the one that was chosen, else the first that there was."""
        return self._chosen

    def choose(self, room: str) -> None:
        """Show who is in ``room``, as a click on its name does; from any thread. It may be one that nobody is in yet.

        Raises:
            TypeError, ValueError: no room can have such a name.
        """
        self._chosen = check_room(room)
        loops.panels().call_soon(self._tell_changes)

    def snapshot(self) -> None:
        """Put a static copy of the hub's state, its rooms and the chosen room's members into this cell's output, as HTML and text."""
        self._look()
        picture = self._picture()
        hub = picture["hub"]
        totals = ", ".join(f"{count} {label}" for label, count in hub["totals"])
        rows = [("log", f"{hub['pill']} · {totals}"), *(("log", text) for text in (hub["detail"], hub["hint"]) if text)]
        rows += [("log", f"{row['name']}: {', '.join(f'{count} {label}' for label, count in row['counts'] if count != '–')}") for row in picture["rooms"]]
        rows += [("ended" if row["ended"] else "log", member_text(row)) for row in picture["members"]]
        show_snapshot(self.title, [(kind, redact(text)) for kind, text in rows])

    def _action(self, what: str, form: dict[str, Any]) -> Coroutine[Any, Any, None] | None:
        if what == "choose":
            return self._choose(form.get("room"))
        return self._note_sight(form.get("view", ""), form.get("seen") is True) if what == "sight" else None

    async def _choose(self, room: Any) -> None:
        self.choose(room)

    async def _note_sight(self, view: str, seen: bool) -> None:
        """A view has come into sight, or went out of it: scrolled away, or in a tab behind another."""
        (self._out_of_sight.discard if seen else self._out_of_sight.add)(view)
        loops.panels().call_soon(self._follow)

    # On the panels' loop.

    def _wants_ticks(self) -> bool:
        return bool(self._views - self._out_of_sight)

    def _follow(self) -> None:
        self._out_of_sight &= self._views
        if not self._wants_ticks() or (self._watching is not None and not self._watching.done() and self._watching.get_loop() is asyncio.get_running_loop()):
            return
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while self._wants_ticks():
            began = time.thread_time()
            self._look()
            self._tell_changes()
            self._ask_others()
            cost_seconds = time.thread_time() - began
            await asyncio.sleep(min(max(_PAUSE_SECONDS, cost_seconds / _COST), _LONGEST_PAUSE_SECONDS))

    def _ask_others(self) -> None:
        """Have the hub follow who is in the chosen room elsewhere, for as long as the panel is seen."""
        if self._chosen is None or self._seen.state == "closed":
            self._asked = (None, 0.0)
        elif self._asking is None or self._asking.done():
            (room, at), now = self._asked, time.monotonic()
            if room != self._chosen or now - at >= _ASK_SECONDS:
                self._asked = (self._chosen, now)
                self._asking = asyncio.get_running_loop().create_task(self._ask(self._chosen))

    async def _ask(self, room: str) -> None:
        with contextlib.suppress(HubError, LoopStopped):  # it was closed, or its loop has ended: the next look says so
            await self.hub.present(room)

    def _reset(self) -> dict[str, Any]:
        if self._seen is None:
            self._look()
        return self._picture()

    def _tell_changes(self) -> None:
        picture = self._picture()
        changes = {key: value for key, value in picture.items() if self._said.get(key) != value}
        if changes:
            self._said = picture
            self._tell(changes)

    def _look(self) -> None:
        """Take a snapshot of the hub, and note when those who are gone were first missed."""
        first, self._seen = self._seen is None, self.hub.statistics()
        long_ago = -_LEFT_SECONDS if first else 0.0  # who left before the panel was there is not news
        now = time.monotonic()
        self._left_at = {queue.id: self._left_at.get(queue.id, now + long_ago) for _, queue in self._seen.left}
        if self._chosen is None and self._seen.rooms:
            self._chosen = self._seen.rooms[0].name

    def _picture(self) -> dict[str, Any]:
        """All that a view shows: what the last look saw, as words."""
        seen = self._seen
        if seen is None:
            return {}
        rooms = list(seen.rooms[:_ROOMS_SHOWN])
        chosen = next((room for room in seen.rooms if room.name == self._chosen), None)
        if chosen is not None and chosen not in rooms:
            rooms[-1] = chosen
        members = self._members_of(chosen)
        return {
            "hub": header_of(seen, more_rooms=len(seen.rooms) - len(rooms), nobody=not members),
            "rooms": [room_row(room, chosen=room.name == self._chosen) for room in rooms],
            "room": summary_of(self._chosen, chosen, shown=sum(not row["gone"] for row in members)),
            "members": members,
        }

    def _members_of(self, room: RoomStatistics | None) -> list[dict[str, Any]]:
        """Who is in the chosen room, here and elsewhere, then who was until a moment ago."""
        here = [member_row(queue) for queue in in_order(room.queues if room else ())]
        elsewhere = [elsewhere_row(present) for present in (room.others if room else ())]
        gone = [member_row(queue, gone=True) for queue in self._gone()]
        return [*here, *elsewhere, *gone][:_MEMBERS_SHOWN]

    def _gone(self) -> list[QueueStatistics]:
        """Who was in the chosen room and is worth showing, the last one first."""
        left = [queue for name, queue in reversed(self._seen.left) if name == self._chosen]
        let_go = [queue for queue in left if queue.dropped or queue.ended not in (None, "it left")][:_LET_GO_SHOWN]
        now = time.monotonic()
        return [queue for queue in left if queue in let_go or now - self._left_at[queue.id] < _LEFT_SECONDS]

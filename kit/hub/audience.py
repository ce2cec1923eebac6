"""The members of one room whose WebSockets live on one loop: served together, in one pass over those that keep up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from kit.hub.delivery import Delivery
from kit.hub.message import ComingOrGoing, Gap

if TYPE_CHECKING:
    from kit.hub.member import Member

__all__ = ["Audience"]

INBOX_LIMIT = 4096

# Those that get the same frames: which server's turn of the loop they are written in, in an envelope or not, and
# whether they want to know who comes and goes.
Lane = tuple[Any, bool, bool]


class Audience:
    """One room's members on one loop.

    ``deliver`` is called on the hub's loop, everything else on the members' own. A member that keeps up is in a lane:
    it costs no task and no queue, its message goes into what its server writes at the end of this turn of the loop. Who
    does not, or whose server has no such lane, is served from a backlog of its own.
    """

    def __init__(self, room: str, loop: asyncio.AbstractEventLoop, hub_loop: asyncio.AbstractEventLoop) -> None:
        self.room = room
        self.loop = loop
        self._is_home = loop is hub_loop
        self._lanes: dict[Lane, dict[Any, Member]] = {}
        self._queued: dict[Member, None] = {}
        self._inbox = deque[Delivery](maxlen=INBOX_LIMIT)  # a loop that is blocked for longer loses the oldest, and that is said
        self._lost = self._lost_told = 0
        self._woken = False

    @property
    def count_behind(self) -> int:
        """How many members are served from their backlog at the moment."""
        return len(self._queued)

    def deliver(self, delivery: Delivery) -> None:
        """Pass ``delivery`` to every member: now, or as soon as their loop turns."""
        if self._is_home:
            self._serve(delivery)
            return
        self._lost += len(self._inbox) == INBOX_LIMIT
        self._inbox.append(delivery)
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and its members with it
                self.loop.call_soon_threadsafe(self._serve_inbox)

    def add(self, member: Member) -> None:
        """Serve ``member`` from its backlog from now on."""
        self._queued[member] = None

    def remove(self, member: Member) -> None:
        """Serve it no more; safe to call twice."""
        self._queued.pop(member, None)
        key = self._lane_of(member)
        lane = self._lanes.get(key, {})
        if lane.get(member.outlet) is member:
            del lane[member.outlet]
            if not lane:
                del self._lanes[key]

    def keeps_up(self, member: Member) -> None:
        """Put ``member``, whose backlog is empty, into its lane."""
        self._queued.pop(member, None)
        self._lanes.setdefault(self._lane_of(member), {})[member.outlet] = member

    def _serve(self, delivery: Delivery) -> None:
        of_presence = isinstance(delivery.item, ComingOrGoing)
        for (turn, enveloped, presence), lane in list(self._lanes.items()):
            if of_presence and not presence:
                continue
            frame = delivery.frame(enveloped)
            if frame is not None and (left := turn.write(lane, frame)):
                self._fall_behind([lane[outlet] for outlet in left])
        for member in list(self._queued):
            if member.wants_presence or not of_presence:
                member.queue(delivery)

    def _fall_behind(self, members: list[Member]) -> None:
        """They took nothing: from here on, and for this delivery too, they are served from their backlog."""
        for member in members:
            self.remove(member)
            self.add(member)

    def _serve_inbox(self) -> None:
        self._woken = False  # first: what comes from here on wakes this loop again, or is still taken now
        if self._lost_told < self._lost:
            count, self._lost_told = self._lost - self._lost_told, self._lost
            self._tell_lost(count)
        for _ in range(len(self._inbox)):
            self._serve(self._inbox.popleft())

    def _tell_lost(self, count: int) -> None:
        reason = f"the loop of this WebSocket was blocked: {count:,} messages lost"
        for member in [*self._queued, *(member for lane in self._lanes.values() for member in lane.values())]:
            if member.policy != "drop_oldest":
                member.disconnect(reason)
        self._serve(Delivery(Gap(self.room, reason, count)))

    def _lane_of(self, member: Member) -> Lane:
        return (getattr(member.outlet, "turn", None), member.enveloped, member.wants_presence)

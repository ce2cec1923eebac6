"""What a hub has done and what waits in it, as a snapshot for panels and tests. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from kit.hub.message import Position
from kit.hub.presence import Present

__all__ = ["BrokerState", "HubStatistics", "QueueStatistics", "RoomStatistics"]

BrokerState = Literal["connected", "reconnecting", "failed", "closed"]


class QueueStatistics(NamedTuple):
    """One subscriber's or member's queue.

    Attributes:
        id: unique among all subscribers and members of all hubs; those of one hub end in rising numbers.
        kind: ``"subscriber"`` or ``"member"``.
        name: a member's name, empty for a subscriber.
        policy: what happens when it is full.
        waiting: messages in it.
        waiting_bytes: and their bytes.
        dropped: messages that made room for newer ones.
        capacity: messages that may wait in it.
        ended: why it gets nothing more, in words; None while it does.
    """

    id: str
    kind: str
    name: str
    policy: str
    waiting: int
    waiting_bytes: int
    dropped: int
    capacity: int
    ended: str | None


class RoomStatistics(NamedTuple):
    """One room that somebody of this hub is in.

    Attributes:
        name: the room's.
        position: of its last message, or where it was when the first one came.
        published: messages that this hub sent to it since then.
        received: messages that the broker brought since then.
        gaps: times that the broker lost messages of it.
        subscribers: how many there are.
        members: how many WebSockets have joined.
        behind: how many of those are served from a queue at the moment.
        waiting: messages in all queues.
        waiting_bytes: and their bytes.
        dropped: messages that made room for newer ones.
        queues: the fullest queues, at most 200.
        elsewhere: how many WebSockets have joined through other hubs; None while nobody here asks who is in the room.
        others: who they are, at most 200.
    """

    name: str
    position: Position | None
    published: int
    received: int
    gaps: int
    subscribers: int
    members: int
    behind: int
    waiting: int
    waiting_bytes: int
    dropped: int
    queues: tuple[QueueStatistics, ...]
    elsewhere: int | None = None
    others: tuple[Present, ...] = ()


class HubStatistics(NamedTuple):
    """One hub; the counters count since it was opened.

    Attributes:
        url: its broker's, without a password.
        state: ``"connected"``, ``"reconnecting"``, ``"failed"`` or ``"closed"``.
        detail: why it is in that state, in words.
        published: messages that the broker took from this hub.
        failed: messages that it did not take.
        received: messages that it brought.
        dropped: messages that made room for newer ones, in all queues.
        disconnected: subscribers and members that were too slow.
        aborted: sockets among them that took not even a Close frame, or got stuck.
        gaps: times that the broker lost messages.
        poison: things from the broker that no hub wrote.
        reconnects: times that the broker was found again.
        rooms: those that somebody of this hub is in, or that it asks about and somebody is in elsewhere.
        left: who was let go last, with the room's name, at most 100.
    """

    url: str
    state: BrokerState
    detail: str
    published: int
    failed: int
    received: int
    dropped: int
    disconnected: int
    aborted: int
    gaps: int
    poison: int
    reconnects: int
    rooms: tuple[RoomStatistics, ...]
    left: tuple[tuple[str, QueueStatistics], ...]

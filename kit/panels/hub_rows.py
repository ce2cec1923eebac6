"""What HubPanel says of a hub, a room and a queue: rows of words for its front end. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kit.hub.presence import Present
from kit.hub.statistics import HubStatistics, QueueStatistics, RoomStatistics
from kit.printable import human_bytes, quoted, visible

__all__ = ["elsewhere_row", "header_of", "in_order", "member_row", "member_text", "room_row", "summary_of"]

_TONES = {"connected": "good", "reconnecting": "warning", "failed": "bad", "closed": "muted"}
_NOT_OPEN = "This hub is not open. In an app's lifespan: `async with hub:`, or in a cell: `await hub.open()`."
_NOBODY = "Nobody is in a room yet. A room is there as soon as somebody is in it."
_NOBODY_NOW = "Nobody is in a room now."
_AWAY = "The broker cannot be reached. The hub tries again and again, and what is published waits for it a few seconds. The last try: "
_DETAIL_CHARACTERS = 300


def header_of(hub: HubStatistics, *, more_rooms: int, nobody: bool) -> dict[str, Any]:
    """The hub's broker, its totals, and what to do when there is nothing to see: no room, and ``nobody`` who was in the chosen one."""
    totals = {"published": hub.published, "received": hub.received, "dropped": hub.dropped, "gaps": hub.gaps}
    troubles = {"failed": hub.failed, "disconnected": hub.disconnected, "aborted": hub.aborted, "not understood": hub.poison, "reconnects": hub.reconnects}
    totals |= {label: count for label, count in troubles.items() if count}
    used = bool(hub.published or hub.received or hub.left)
    return {
        "url": visible(hub.url),
        "pill": hub.state,
        "tone": _TONES[hub.state],
        "detail": visible(f"{_AWAY}{hub.detail}" if hub.detail and hub.state == "reconnecting" else hub.detail)[:_DETAIL_CHARACTERS],
        "totals": _labelled(totals),
        "count": _counted(len(hub.rooms), "room"),
        "more": f'{_counted(more_rooms, "more room")} not in this list: panel.choose("name") shows any.' if more_rooms else "",
        "hint": "" if hub.rooms else _NOT_OPEN if hub.state == "closed" else _NOBODY_NOW if used else _NOBODY,
        "teaches": not hub.rooms and nobody,
    }


def room_row(room: RoomStatistics, *, chosen: bool) -> dict[str, Any]:
    """One room: its name, and its counts with their labels, in the order of the columns."""
    elsewhere = "–" if room.elsewhere is None else f"{room.elsewhere:,}"
    counts = {"published": room.published, "received": room.received, "dropped": room.dropped, "gaps": room.gaps}
    counted = [(label, "–") for label in [*counts, "offset"]]
    if room.position is not None:  # somebody of this hub is in it, so that it counts
        counted = _labelled(counts | {"offset": room.position.offset})
    labelled = [*_labelled({"members": room.members}), ("elsewhere", elsewhere), *_labelled({"subscribers": room.subscribers}), *counted]
    return {"id": room.name, "name": visible(room.name), "counts": labelled, "chosen": chosen}


def in_order(queues: Iterable[QueueStatistics]) -> list[QueueStatistics]:
    """Members before subscribers, each in the order in which they came: a row that moves cannot be read."""
    return sorted(queues, key=lambda queue: (queue.kind, _number_of(queue)))


def member_row(queue: QueueStatistics, *, gone: bool = False) -> dict[str, Any]:
    """One member or subscriber: its queue in numbers and words, and its state."""
    ended = gone or queue.ended is not None
    state, tone = _state_of(queue, ended)
    return {
        "id": queue.id,
        "name": visible(queue.name) if queue.kind == "member" else f"subscriber {_number_of(queue)}",
        "kind": queue.kind,
        "waiting": 0 if ended else queue.waiting,
        "capacity": queue.capacity,
        "waits": "–" if ended else "nothing waits" if not queue.waiting else f"{queue.waiting:,} of {queue.capacity:,}, {human_bytes(queue.waiting_bytes)}",
        "dropped": f"{queue.dropped:,}",
        "policy": queue.policy,
        "state": state,
        "tone": tone,
        "reason": visible(queue.ended) if state == "ended" else "",
        "ended": ended,
        "gone": gone,
    }


def elsewhere_row(present: Present) -> dict[str, Any]:
    """One member of another hub, whose queue is known there only."""
    unknown = dict.fromkeys(("waits", "dropped", "policy"), "–")
    state = {"state": "elsewhere", "tone": "muted", "reason": "", "ended": False, "gone": False}
    return {"id": present.id, "name": visible(present.name), "kind": "elsewhere", "waiting": 0, "capacity": 0, **unknown, **state}


def member_text(row: dict[str, Any]) -> str:
    """A row of `member_row` or `elsewhere_row` on one line."""
    if row["kind"] == "elsewhere":
        return f"{row['name']}: elsewhere"
    return f"{row['name']} ({row['policy']}): {row['state']}, {row['waits']}. {row['reason']}".rstrip(". ")


def summary_of(name: str | None, room: RoomStatistics | None, *, shown: int) -> dict[str, Any]:
    """The chosen room in a sentence."""
    if name is None:
        return {"name": "", "text": "", "hint": "", "more": ""}
    if room is None:
        return {"name": visible(name), "text": "empty", "hint": f"Nobody of this hub is in {quoted(name)} now. Whoever joins it appears here.", "more": ""}
    waiting = f"{room.waiting:,} waiting, {human_bytes(room.waiting_bytes)}" if room.waiting else "nothing waits"
    elsewhere = f", {_counted(room.elsewhere, 'member')} elsewhere" if room.elsewhere else ""
    hidden = room.members + room.subscribers + (room.elsewhere or 0) - shown
    more = f"{hidden:,} more are in this room: those shown have the fullest queues." if hidden > 0 else ""
    return {
        "name": visible(name),
        "text": f"{_counted(room.members, 'member')}, {_counted(room.subscribers, 'subscriber')}{elsewhere}, {waiting}",
        "hint": "",
        "more": more,
    }


def _state_of(queue: QueueStatistics, ended: bool) -> tuple[str, str]:
    if ended:
        return ("left", "muted") if queue.ended in (None, "it left") else ("ended", "bad")
    if queue.waiting >= queue.capacity:
        return "full", "bad"
    return ("behind", "warning") if queue.waiting else ("keeps up", "good")


def _number_of(queue: QueueStatistics) -> int:
    return int(queue.id.rpartition("-")[2])


def _labelled(counts: dict[str, int]) -> list[tuple[str, str]]:
    """Each count with its label, which agrees with it: 1 member, 2 members."""
    return [(label.removesuffix("s") if count == 1 else label, f"{count:,}") for label, count in counts.items()]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

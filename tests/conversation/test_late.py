"""A server in another process: what it did is told after what it brought about at the client."""

from __future__ import annotations

from typing import Any

import pytest

from kit.conversation import Conversation
from kit.timeline import Entry
from tests.conversation.entries import asgi, entry, frame, handshake, message_up


def late(entries: list[Entry]) -> list[Entry]:
    """The same Entries in the order in which they come when the server's end is told later, with their own times."""
    return [each for each in entries if each.side == "client"] + [each for each in entries if each.side == "server"]


def told(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """What the rows say, in the order of time."""
    fold = Conversation()
    fold.feed(entries)
    rows = sorted(fold.rows, key=lambda row: row.at_seconds)
    return [(row.kind, row.direction, row.label, row.first, row.lost, row.waits, row.at_seconds, row.moments, row.client, row.handler) for row in rows]


def control(opcode: str, sender: str, receiver: str) -> list[Entry]:
    return [frame(sender, "out", opcode=opcode, ordinal=None), frame(receiver, "in", opcode=opcode, ordinal=None)]


@pytest.mark.parametrize("dropped_by", ["client", "server", None])
def test_a_server_that_is_told_of_later_changes_no_row(dropped_by: str | None) -> None:
    entries = [*handshake(), *message_up("hello", 1), *control("PING", "client", "server"), *control("PONG", "server", "client")]
    entries += [asgi("send", "send", "answer", ordinal=1), frame("server", "out", "answer"), frame("client", "in", "answer")]
    entries += [*control("PING", "server", "client"), *control("PONG", "client", "server"), *control("PING", "client", "server")]
    if dropped_by is None:
        closes = [("server", "out"), ("client", "in"), ("client", "out"), ("server", "in")]
        entries += [frame(side, way, opcode="CLOSE", ordinal=None, code=1000) for side, way in closes]
    ends = ["server", "client"] if dropped_by != "client" else ["client", "server"]
    entries += [entry(side, "end", "the socket closed", what="socket") for side in ends]
    assert told(late(entries)) == told(entries)


def test_whether_a_process_that_ended_had_received_a_message_is_not_known() -> None:
    fold = Conversation()
    fold.feed([*handshake(), frame("client", "out", "exit"), entry("client", "end", "the socket closed", what="socket")])
    ended = [entry("server", "error", "process 1 ended with exit code 3", what="process-ended"), entry("server", "end", "the socket closed", what="socket")]
    fold.feed(ended)
    (row,) = [row for row in fold.rows if row.kind == "message"]
    assert (row.waits, row.lost, row.details[-1]) == ("", False, ("at the server", "not known: the process ended before it told"))

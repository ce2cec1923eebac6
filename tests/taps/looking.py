"""What the tests look for in a Timeline: who saw what, and in which order."""

from __future__ import annotations

from collections.abc import Callable

from kit import Server
from kit.timeline import Entry


def seen(server: Server, side: str, kind: str, connection: int | None = None) -> list[Entry]:
    return [entry for entry in server.timeline.entries(connection=connection) if (entry.side, entry.kind) == (side, kind)]


def both_ended(server: Server, number: int = 1) -> Callable[[], bool]:
    """Whether both ends of a connection have recorded that their socket closed, and its handler that it ended."""

    def condition() -> bool:
        entries = server.timeline.entries(connection=number)
        sockets = [entry.side for entry in entries if entry.kind == "end" and entry.details["what"] == "socket"]
        handler = [entry for entry in entries if entry.kind == "error" or entry.details.get("what") == "handler"]
        return len(sockets) == 2 and bool(handler)

    return condition


def journey(server: Server, number: int = 1) -> dict[tuple[str, str], dict[int, Entry]]:
    """The message Entries of a connection by side and kind, and then by ordinal."""
    found: dict[tuple[str, str], dict[int, Entry]] = {}
    for entry in server.timeline.entries(connection=number):
        if entry.ordinal is not None:
            found.setdefault((entry.side, entry.kind), {}).setdefault(entry.ordinal, entry)
    return found


def assert_causal(server: Server, count: int, number: int = 1) -> None:
    """Every message of an echo passed its six places in the order of cause and effect, with one ordinal on both ends."""
    places = journey(server, number)
    way = [
        ("client", "frame-out"),
        ("server", "frame-in"),
        ("server", "asgi-receive"),
        ("server", "asgi-send"),
        ("server", "frame-out"),
        ("client", "frame-in"),
    ]
    for ordinal in range(1, count + 1):
        steps = [places[place][ordinal] for place in way]
        assert [step.number for step in steps] == sorted(step.number for step in steps), ordinal
        assert len({step.size for step in steps}) == 1, ordinal
        assert len({step.text for step in steps}) == 1, ordinal
    assert {len(ordinals) for ordinals in places.values()} == {count}

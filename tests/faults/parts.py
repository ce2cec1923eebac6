"""Every fault that lasts, and what the tests look for in the Timeline of the client that has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kit import Client
from kit.faults import Fault, half_open, pongs_delayed, reading_stalled, slow_network
from kit.timeline import Entry

Eventually = Callable[..., Any]

ALIVE_SECONDS = 1.5  # what the pong of a client without a fault may take, on a busy machine

# Every fault that lasts, as a reader would write it.
BLOCKS: dict[str, Callable[[Client], Fault]] = {
    "reading-stalled": reading_stalled,
    "slow-network": lambda client: slow_network(client, to_server_seconds=0.02, to_client_seconds=0.02),
    "half-open": half_open,
    "pongs-delayed": lambda client: pongs_delayed(client, seconds=None),
}
every_block = pytest.mark.parametrize("what", BLOCKS)


def noted(client: Client) -> list[tuple[str, str]]:
    """The faults of the Timeline: what, and which phase of it."""
    return [(entry.details["what"], entry.details["phase"]) for entry in client.timeline.entries() if entry.kind == "fault"]


def frames(client: Client, side: str, kind: str, *opcodes: str) -> list[Entry]:
    entries = client.timeline.entries(connection=client.number)
    return [entry for entry in entries if (entry.side, entry.kind) == (side, kind) and (not opcodes or entry.details["opcode"] in opcodes)]


def number_of(client: Client, what: str, phase: str) -> int:
    """The number of a fault's Entry."""
    return next(e.number for e in client.timeline.entries() if e.kind == "fault" and (e.details["what"], e.details["phase"]) == (what, phase))


def since_begin(client: Client, what: str, entries: list[Entry]) -> list[Entry]:
    """Those that came after a fault had begun."""
    return [entry for entry in entries if entry.number > number_of(client, what, "begins")]


async def echoes(client: Client, text: str) -> bool:
    await client.send_text(text)
    return await client.receive_text(timeout=5.0) == text

"""How what was typed, or given, as a message is sent: as text, as JSON or as bytes, and what is wrong with it when it cannot be."""

from __future__ import annotations

import json
from typing import Any

from kit.client import Client

__all__ = ["EXAMPLES", "send"]

EXAMPLES = {"text": "hello", "json": '{"text": "hello"}', "binary": "68 65 6c 6c 6f"}
"""What the front end suggests for each kind."""


async def send(client: Client, message: Any, kind: str) -> None:
    """Send ``message`` as one of the kinds of `EXAMPLES`; returns once its frame is written.

    Raises:
        ValueError: not JSON, not hex, or not a kind; with what was expected.
        Disconnected: the connection has ended.
    """
    await _SENDERS.get(kind, _refuse_kind)(client, message)


async def _send_text(client: Client, message: Any) -> None:
    if not isinstance(message, str):
        raise ValueError(f"a text message expects text, but got {type(message).__name__}. For other values use kind='json' or kind='binary'.")
    await client.send_text(message)


async def _send_json(client: Client, message: Any) -> None:
    if not isinstance(message, str):
        await client.send_json(message)
        return
    try:
        json.loads(message, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}. Expected for example {EXAMPLES['json']}. Nothing was sent.") from None
    await client.send_text(message)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is Python's, not JSON's")


async def _send_binary(client: Client, message: Any) -> None:
    if isinstance(message, str):
        try:
            message = bytes.fromhex(message.replace("0x", "").replace(",", " "))
        except ValueError as error:
            raise ValueError(f"not hex: {error}. Expected pairs of 0-9 and a-f, for example {EXAMPLES['binary']}. Nothing was sent.") from None
    await client.send_bytes(message)


async def _refuse_kind(client: Client, message: Any) -> None:
    raise ValueError(f"kind expects one of {', '.join(map(repr, _SENDERS))}.")


_SENDERS = {"text": _send_text, "json": _send_json, "binary": _send_binary}

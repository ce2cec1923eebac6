"""What every fault checks first: that it is given a client, and that this client is connected."""

from __future__ import annotations

from typing import Any

from starlette.websockets import WebSocketState

from kit.client import Client
from kit.pending import Pending

__all__ = ["check_client", "check_connected"]


def check_client(client: Any, function: str) -> None:
    """Refuse what is no client, and say what to write instead; ``function`` is what the reader called."""
    if isinstance(client, Client):
        return
    hint = f"Write: {function}(client, …)"
    if isinstance(client, Pending):
        hint = "Did you forget await? Write: client = await connect(server, …)"
    elif isinstance(getattr(client, "client", None), Client):
        hint = f"It has one: write {function}(panel.client, …)"
    raise TypeError(f"{function} expects a client from `await connect(…)`, but got {type(client).__name__}. {hint}")


def check_connected(client: Client) -> None:
    """Refuse a client whose connection has ended, and say why it has."""
    if client.state is not WebSocketState.CONNECTED:
        raise client.disconnected()

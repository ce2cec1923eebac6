"""A client's seat at a server's name: who sits there, dialling one at a time, and dialling again when the server is replaced."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from starlette.websockets import WebSocketState

from kit import loops
from kit.client import Client, connect
from kit.errors import HandshakeRefused
from kit.registry import running_server
from kit.server import Server
from kit.timeline import Timeline

__all__ = ["Seat"]

# One seat a name: a seat made again under the same name takes over from the one before.
_seats: weakref.WeakKeyDictionary[Timeline, dict[tuple[str, str], weakref.ref[Seat]]] = weakref.WeakKeyDictionary()


class Seat:
    """Where one client after another connects to the same server's name.

    Attributes:
        client: who sits here, or sat here last; None before the first.
        dialling: whether a handshake is under way.
        returns: whether to dial again once the server has been replaced.

    Args:
        target: a server, which is followed by its *name*, or an address.
        when_dialling: called when a handshake begins and when it is over.
    """

    def __init__(self, target: Server | str, timeline: Timeline, name: str, when_dialling: Callable[[], None]) -> None:
        self.client: Client | None = None
        self.dialling = False
        self.returns = False
        self._target = target
        self._tried = target
        self._timeline = timeline
        self._name = name
        self._when_dialling = when_dialling
        self._one_at_a_time = asyncio.Lock()  # all dial on the clients' loop

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return self.client is not None and self.client.state is WebSocketState.CONNECTED

    def check(self, path: str, handshake: Mapping[str, Any]) -> None:
        """Raise what `connect` would raise for these arguments; dials nobody."""
        connect(self._target, path, **handshake)

    def take(self, path: str) -> None:
        """Sit down under this seat's name at ``path``; whoever sat there is asked to leave."""
        seats = _seats.setdefault(self._timeline, {})
        before = seats.get((path, self._name))
        seats[path, self._name] = weakref.ref(self)
        seat = before() if before else None
        if seat is not None and seat.client is not None:
            loops.background().submit(seat.leave(1001, "a new panel took this one's place"))

    async def dial(self, path: str, handshake: Mapping[str, Any]) -> Client:
        """On the clients' loop: connect; a client that is still connected is closed first. Raises what `connect` raises."""
        async with self._one_at_a_time:
            if self.connected:
                await self.leave()
            self._set_dialling(True)
            try:
                self._tried = self._current_target()
                client = await connect(self._tried, path, name=self._name, timeline=self._timeline, **handshake)
            except HandshakeRefused as refusal:
                self.returns = self.returns and refusal.connection.server_stopped  # replaced again meanwhile
                raise
            finally:
                self._set_dialling(False)
            self.client, self.returns = client, True
            loops.background().submit(_keep_reading(client))
            return client

    async def leave(self, code: int = 1000, reason: str = "") -> None:
        """Close, and stay away when the server is replaced; nothing happens when not connected."""
        self.returns = False
        if self.client is not None:
            await self.client.close(code, reason)

    async def vanish(self) -> None:
        """Drop the socket, and stay away; nothing happens when not connected."""
        self.returns = False
        if self.client is not None:
            await self.client.abort()

    def should_return(self) -> bool:
        """Whether to dial now: once for each server that replaces the one this client was connected to."""
        if not self.returns or self.dialling or not self.client.connection.server_stopped or not isinstance(self._target, Server):
            return False
        successor = running_server(self._target.name)
        known = successor in (None, self._tried) or successor.timeline is not self._timeline  # after stop_all() a name begins anew
        if known or self.connected:
            return False
        self._tried = successor
        return True

    def _current_target(self) -> Server | str:
        """The server that bears the name now."""
        if isinstance(self._target, Server):
            self._target = running_server(self._target.name) or self._target
        return self._target

    def _set_dialling(self, dialling: bool) -> None:
        self.dialling = dialling
        self._when_dialling()


async def _keep_reading(client: Client) -> None:
    """Take the messages out of the client's queue; the conversation itself is read from the Timeline."""
    while (await client.receive())["type"] == "websocket.receive":
        pass

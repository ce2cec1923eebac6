"""One connection to Redis: commands, and their replies in the same order."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from redis.asyncio import Connection
from redis.exceptions import NoScriptError, ResponseError

from kit.hub.link import LinkLost
from kit.hub.redis_script import LOAD

__all__ = ["RedisConnection"]


class RedisConnection:
    """What redis-py's has and a link does not need is left out: it neither connects again nor tries again by itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    async def connect(self) -> None:
        """Connect, and say who one is."""
        await self._connection.connect()

    async def close(self) -> None:
        """Drop it."""
        with contextlib.suppress(Exception):
            await self._connection.disconnect(nowait=True)

    async def ask(self, *commands: tuple[Any, ...], errors: bool = False) -> list[Any]:
        """Send commands together; their replies, with ``errors`` among them.

        Raises:
            LinkLost: the connection is closed; or Redis has refused something, without ``errors``.
        """
        if not commands:
            return []
        async with self._turn:
            replies = await self._exchange(commands)
            unknown = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:  # somebody has flushed the scripts, so that these did nothing
                _, *again = await self._exchange((LOAD, *(commands[number] for number in unknown)))
                for number, reply in zip(unknown, again, strict=True):
                    replies[number] = reply
        refused = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
        if refused is not None and not errors:
            raise LinkLost(f"it refused: {refused}")
        return replies

    async def send(self, *command: Any) -> None:
        """Send one whose reply `receive` gets."""
        if not self._connection.is_connected:  # redis-py would connect again, perhaps to a server with another memory
            raise LinkLost("the connection is closed")
        await self._connection.send_packed_command(self._connection.pack_command(*command), check_health=False)

    async def receive(self) -> Any:
        """The next thing that comes."""
        return await self._connection.read_response()

    async def _exchange(self, commands: tuple[tuple[Any, ...], ...]) -> list[Any]:
        if not self._connection.is_connected:
            raise LinkLost("the connection is closed")
        await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await self.receive())
            except ResponseError as error:
                replies.append(error)
        return replies

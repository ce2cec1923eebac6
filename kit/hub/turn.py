"""How much a publisher may do in one turn of the loop, so that the others get theirs."""

from __future__ import annotations

import asyncio

__all__ = ["Turn"]

TURN_MESSAGES, TURN_BYTES = 64, 256 * 1024


class Turn:
    """What this turn of the loop has done so far. Lives on the loop on which it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._messages = self._bytes = 0

    async def give_way(self, size: int = 0) -> None:
        """Let the loop turn after so many messages, or comers: who never waits would starve those whom it publishes to, and keep what it has left."""
        if self._messages == 0:
            self._loop.call_soon(self._over)
        self._messages += 1
        self._bytes += size
        if self._messages >= TURN_MESSAGES or self._bytes >= TURN_BYTES:
            await asyncio.sleep(0)

    def _over(self) -> None:
        self._messages = self._bytes = 0

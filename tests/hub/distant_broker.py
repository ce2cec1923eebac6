"""distant://name: a memory that several hubs of one loop share, and that takes its time over everything, as a network would."""

from __future__ import annotations

import asyncio
import random
from typing import ClassVar

from kit.hub.broker import BrokerLimits, Deliver
from kit.hub.memory import MemoryBroker
from kit.hub.message import Position, Stored

__all__ = ["DistantBroker"]


class DistantBroker(MemoryBroker):
    """Every call waits some turns of the loop, and messages come some turns after they were published, in order."""

    opened: ClassVar[dict[str, list[DistantBroker]]] = {}

    def __init__(self, url: str, limits: BrokerLimits) -> None:
        super().__init__("memory://", limits)
        self._url = url
        self._on_the_way: asyncio.Queue[tuple[str, Stored]] = asyncio.Queue()

    async def open(self, deliver: Deliver) -> None:
        await _some_turns()
        await super().open(deliver)
        others = self.opened.setdefault(self._url, [])
        self._rooms = others[0]._rooms if others else self._rooms
        others.append(self)
        self._bringing = asyncio.create_task(self._bring())

    async def close(self) -> None:
        others = self.opened.get(self._url, [])
        if self in others:
            others.remove(self)
            self._bringing.cancel()
            self._rooms = type(self._rooms)()
        await super().close()

    async def publish(self, room: str, payload: bytes) -> Position:
        await _some_turns()
        joined, self._joined = self._joined, set()
        try:
            position = await super().publish(room, payload)
        finally:
            self._joined = joined
        for other in self.opened[self._url]:
            other._on_the_way.put_nowait((room, Stored(*position, payload)))
        await _some_turns()
        return position

    async def join(self, room: str) -> Position:
        await _some_turns()
        position = await super().join(room)
        await _some_turns()
        return position

    async def leave(self, room: str) -> None:
        await _some_turns()
        await super().leave(room)
        await _some_turns()

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        await _some_turns()
        found = await super().history(room, since)
        await _some_turns()
        return found

    async def _bring(self) -> None:
        while True:
            room, stored = await self._on_the_way.get()
            await _some_turns()
            if room in self._joined:
                self._deliver.message(room, *stored)


async def _some_turns() -> None:
    for _ in range(random.randrange(4)):
        await asyncio.sleep(0)

"""Publishing to, and taking from, a service that tests hurt."""

from __future__ import annotations

import asyncio
from typing import Any

from kit.hub import Gap, Hub, Message, PublishFailed, Subscriber

__all__ = ["numbers_of", "publish_until_taken", "take_until"]


async def publish_until_taken(hub: Hub, room: str, message: Any) -> None:
    """Publish it, as often as it takes."""
    async with asyncio.timeout(20.0):
        while True:
            try:
                await hub.publish(room, message)
                return
            except PublishFailed:
                await asyncio.sleep(0.05)


async def take_until(subscriber: Subscriber, last: Any) -> list[Message | Gap]:
    """Everything up to the message ``last``."""
    items = [await subscriber.get(timeout=20.0)]
    while not (isinstance(items[-1], Message) and items[-1].data == last):
        items.append(await subscriber.get(timeout=20.0))
    return items


def numbers_of(items: list[Message | Gap]) -> list[int]:
    """Those that were published."""
    return [item.data for item in items if isinstance(item, Message) and isinstance(item.data, int)]

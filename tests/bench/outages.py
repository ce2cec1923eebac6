"""Long outages, one after the other: 1,000 numbered messages while the service is killed, frozen or cuts its connections.

Run it by hand: ``python tests/bench/outages.py`` (about four minutes). Every line says what arrived: messages that the broker took and that
neither arrived nor were covered by a Gap are "lost in silence", and end the run with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from kit.hub import Gap, Hub, Message, PublishFailed, Subscriber
from tests.hub.services import ForgetfulRedis, Postgres, Redis, Service

MESSAGES = 1000
END = "the end"


async def killed(service: Service, seconds: float) -> None:
    await service.killed_for(seconds)


async def frozen(service: Service, seconds: float) -> None:
    with service.frozen():
        await asyncio.sleep(seconds)


async def connections_dropped(service: Service, times: int) -> None:
    for _ in range(times):
        await service.drop_connections()
        await asyncio.sleep(0.3)


Outage = Callable[[Service], Awaitable[None]]
OUTAGES: dict[str, Outage] = {f"killed for {seconds} s": partial(killed, seconds=seconds) for seconds in (1, 5, 20)}
OUTAGES |= {"frozen for 15 s": partial(frozen, seconds=15), "connections dropped 10 times": partial(connections_dropped, times=10)}


class Outcome(NamedTuple):
    """What became of the messages.

    Attributes:
        taken: those that the broker said it has.
        arrived: what arrived, in the order in which it did.
        gaps: how many the subscriber was told of.
        back_seconds: from the outage's end until both hubs were connected.
    """

    taken: set[int]
    arrived: list[int]
    gaps: int
    back_seconds: float

    @property
    def in_order(self) -> bool:
        return all(before < after for before, after in itertools.pairwise(self.arrived))

    @property
    def missing(self) -> set[int]:
        return self.taken - set(self.arrived)


async def outcome_of(service: Service, outage: Outage) -> Outcome:
    """Publish through one hub and receive through another while the outage happens."""
    room = secrets.token_hex(4)
    async with Hub(service.url) as sender, Hub(service.url) as receiver, receiver.subscribe(room, queue=10 * MESSAGES) as subscriber:
        publishing = asyncio.create_task(publish_numbers(sender, room))
        receiving = asyncio.create_task(receive(subscriber))
        await asyncio.sleep(0.3)
        await outage(service)
        ended = time.monotonic()
        while not sender.state == receiver.state == "connected":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        back_seconds = time.monotonic() - ended
        taken = await publishing
        await publish_until_taken(sender, room)
        arrived, gaps = await receiving
        return Outcome(taken, arrived, gaps, back_seconds)


async def publish_numbers(hub: Hub, room: str) -> set[int]:
    """Each number once; those that the broker took."""
    taken = set()
    for number in range(MESSAGES):
        with contextlib.suppress(PublishFailed):
            await hub.publish(room, number)
            taken.add(number)
        await asyncio.sleep(0.005)
    return taken


async def publish_until_taken(hub: Hub, room: str) -> None:
    while True:
        with contextlib.suppress(PublishFailed):
            await hub.publish(room, END)
            return
        await asyncio.sleep(0.1)


async def receive(subscriber: Subscriber) -> tuple[list[int], int]:
    arrived, gaps = [], 0
    async for item in subscriber:
        if isinstance(item, Gap):
            gaps += 1
        elif isinstance(item, Message) and item.data == END:
            break
        else:
            arrived.append(item.data)
    return arrived, gaps


async def main(services: list[type[Service]]) -> bool:
    """Measure and print; False when something was lost in silence or came out of order."""
    good = True
    for kind in services:
        service = kind()
        await service.start()
        try:
            for name, outage in OUTAGES.items():
                async with asyncio.timeout(120):
                    outcome = await outcome_of(service, outage)
                silent = len(outcome.missing) if not outcome.gaps else 0
                good = good and outcome.in_order and not silent
                print(
                    f"{kind.__name__:15} {name:29} taken {len(outcome.taken):4}  arrived {len(outcome.arrived):4}  "
                    f"{'in order' if outcome.in_order else 'OUT OF ORDER'}  missing {len(outcome.missing):3}  gaps {outcome.gaps}  "
                    f"lost in silence {silent}  back after {outcome.back_seconds:.1f} s",
                    flush=True,
                )
        finally:
            service.close()
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = {"redis": Redis, "postgres": Postgres, "forgetful-redis": ForgetfulRedis}
    parser.add_argument("services", nargs="*", choices=[*kinds, []], help="which ones; all unless told")
    chosen = parser.parse_args().services or list(kinds)
    sys.exit(not asyncio.run(main([kinds[name] for name in chosen])))

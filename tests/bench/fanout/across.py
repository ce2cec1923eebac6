"""Across two processes: what the hub adds to a bare PUBLISH and SUBSCRIBE of Redis, or NOTIFY and LISTEN of PostgreSQL."""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import statistics
from contextlib import ExitStack

from tests.bench.fanout.contender import Process, in_turn
from tests.bench.fanout.ends import AT_A_TIME, HUB, NOTIFY, PUBLISH
from tests.bench.fanout.servers import OURS, ROOM
from tests.bench.fanout.tables import paired, percentiles

__all__ = ["measure_across"]

SIZE = 64
PACE_A_SECOND, PACED_MESSAGES = 200, 60
FLOOD_MESSAGES = 1_600
WAIT_SECONDS = 20.0
JOINED = 100


class Crossing:
    """One way from a process that publishes to a process that receives, and what was measured of it."""

    def __init__(self, publisher: Process, receiver: Process, kind: str, url: str, room: str = "alone") -> None:
        self.name = kind if kind != HUB else "hub.subscribe"
        self.publisher, self.receiver = publisher, receiver
        self.way = (kind, url, room)
        self.latencies_ms: list[list[float]] = []  # by round
        self.a_second: list[float] = []

    def connect(self) -> None:
        self.receiver.ask("open", *self.way)
        self.publisher.ask("open", *self.way)

    def pace(self) -> None:
        self.publisher.tell("pace", self.way, SIZE, PACED_MESSAGES, PACE_A_SECOND)
        arrivals = self._arrivals(PACED_MESSAGES)
        published = self.publisher.answer()["published"]
        self.latencies_ms.append([(at - began) / 1e6 for began, arrived in zip(published, arrivals, strict=True) for at in arrived])

    def flood(self) -> None:
        self.publisher.tell("flood", self.way, SIZE, FLOOD_MESSAGES)
        last = max(self._arrivals(FLOOD_MESSAGES)[-1])
        self.a_second.append(FLOOD_MESSAGES / (last - self.publisher.answer()["began"]) * 1e9)

    def forget(self) -> None:
        self.latencies_ms, self.a_second = [], []

    def _arrivals(self, messages: int) -> list[list[int]]:
        """When each message came to each receiver."""
        arrivals = self.receiver.ask("take", self.way, messages, WAIT_SECONDS)["arrivals"]
        assert len(arrivals) == messages, f"{self.name}: {len(arrivals):,} came of {messages:,}"
        return [[at] for at in arrivals]


class CrossingToWebSockets(Crossing):
    """The receiving process is a server with `JOINED` WebSockets; their clients are a process of their own."""

    def __init__(self, publisher: Process, server: Process, subscribers: Process, url: str) -> None:
        super().__init__(publisher, server, HUB, url, ROOM)
        self.name = f"{JOINED} joined WebSockets"
        self.subscribers = subscribers

    def connect(self) -> None:
        about = self.receiver.answer()
        self.publisher.ask("open", *self.way)
        self.subscribers.ask("connect", about["port"], about["path"], about["greeting"], JOINED)
        self.publisher.ask("pace", self.way, SIZE, 1, PACE_A_SECOND)
        self.message_bytes = self.subscribers.ask("quiet", 1.0)["bytes"]

    def _arrivals(self, messages: int) -> list[list[int]]:
        timed = self.subscribers.ask("time_messages", self.message_bytes, messages, WAIT_SECONDS)
        assert not timed["missing"], f"{self.name}: {timed['missing']:,} did not come"
        return timed["arrivals"]


def measure_across(rounds: int) -> None:
    """Every way over every broker that is there, in turn; the ratios are to the first line of each broker."""
    with ExitStack() as ending:
        services = _services(ending)
        publisher, receiver = (_started(ending, "ends", role) for role in ("publishing", "receiving"))
        brokers = {}
        for broker, (url, bare) in services.items():
            kinds = [HUB] if bare is None else [bare, HUB]
            server, subscribers = _started(ending, "servers", OURS, url), _started(ending, "subscribers")
            brokers[broker] = [*(Crossing(publisher, receiver, kind, url) for kind in kinds), CrossingToWebSockets(publisher, server, subscribers, url)]
        for end in (publisher, receiver):
            end.answer()  # it is ready
        everybody = [each for crossings in brokers.values() for each in crossings]
        for each in everybody:
            each.connect()
        for each in everybody:
            each.pace()
            each.flood()
            each.forget()
        in_turn(everybody, rounds, Crossing.pace, within_seconds=15)
        in_turn(everybody, rounds, Crossing.flood, within_seconds=15)
        for broker, crossings in brokers.items():
            _print(broker, crossings)


def _started(ending: ExitStack, *command: str) -> Process:
    process = Process(*command)
    ending.callback(process.end)
    return process


def _services(ending: ExitStack) -> dict[str, tuple[str, str | None]]:
    """The brokers that there are: a URL and what to compare with; private servers are started, and ended with ``ending``."""
    services: dict[str, tuple[str, str | None]] = {"local": (f"local://{secrets.token_hex(8)}", None)}
    absent = [name for name in ("redis", "psycopg") if importlib.util.find_spec(name) is None]
    if absent:
        print(f"\nredis:// and postgresql:// across two processes: skipped, {' and '.join(absent)} not installed (uv run --group bench …)")
        return services
    from tests.hub.services import ForgetfulRedis, Postgres  # what PUBLISH sends is never on the disk, so nothing of the hub's is either

    for name, kind, bare in (("redis", ForgetfulRedis, PUBLISH), ("postgresql", Postgres, NOTIFY)):
        if (missing := kind.missing()) is not None:
            print(f"\n{name}:// across two processes: skipped, {missing}")
            continue
        service = kind()
        ending.callback(service.close)
        services[name] = (asyncio.run(service.start()), bare)
    return services


def _print(broker: str, crossings: list[Crossing]) -> None:
    print(f"\nAcross two processes through {broker}://, {SIZE} B: {PACE_A_SECOND} messages a second, then {AT_A_TIME} publishers as fast as they can")
    print(f"{'':24}{'p50 ms':>9}{'p99 ms':>9}{'p50 ratio':>11}{'p99 ratio':>11}{'messages/s':>13}{'ratio':>8}")
    base = percentiles(crossings[0].latencies_ms)
    for each in crossings:
        own = percentiles(each.latencies_ms)
        p50, p99 = (statistics.median(column) for column in own)
        ratios = [paired(theirs, mine) for theirs, mine in zip(base, own, strict=True)]
        rate, rate_ratio = statistics.median(each.a_second), paired(crossings[0].a_second, each.a_second)
        print(f"{each.name:24}{p50:9.2f}{p99:9.2f}{ratios[0]:11.2f}{ratios[1]:11.2f}{rate:13,.0f}{rate_ratio:8.2f}")

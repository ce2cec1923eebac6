"""One subscriber that never reads: what becomes of the others, and of it."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

from tests.bench.fanout.contender import Contender, in_turn
from tests.bench.fanout.tables import paired, percentiles

__all__ = ["measure_stalled"]

FILL_BYTES, FILL_BURSTS, FILL_SECONDS = 32_768, 2, 2.0  # more than its socket takes, less than the hub lets wait for it
PACED_MESSAGES = 5
GONE_SECONDS = 5.0


class Beside:
    """One contender's rounds, each without and then with one more subscriber, which never reads."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.lost = 0
        self.stopped = ""  # why there is nothing to measure
        self.gone: list[float | None] = []  # by round: seconds until the server had dropped it
        self._asked_at: float | None = None

    def round(self) -> None:
        """Time the others without it and with it; it stays, and whether the server drops it is asked for in `settle`."""
        contender = self.contender
        if self.stopped:
            return
        contender.pace(64, PACED_MESSAGES)
        contender.stall()
        self._asked_at = time.monotonic()
        came = contender.fill(FILL_BYTES, FILL_BURSTS, FILL_SECONDS)
        if came < 1:
            self.stopped = f"everybody stopped: {came:.0%} of what was published came within {FILL_SECONDS:g} s"
            contender.latencies_ms.pop()
            return
        self.lost += contender.pace(64, PACED_MESSAGES)
        self._filled_seconds = time.monotonic() - self._asked_at
        contender.server.tell("until_at_most", contender.count, GONE_SECONDS - self._filled_seconds)

    def settle(self) -> None:
        """Note when the server dropped it, if it did; then it leaves by itself."""
        if not self.stopped:
            after = self.contender.server.answer()["after"]
            self.gone.append(None if after is None else self._filled_seconds + after)
            self.contender.unstall()

    def print(self) -> None:
        name = f"{self.contender.name:24}"
        if not self.contender.latencies_ms:
            print(f"{name}{'':28}  {self.stopped}")
            return
        p99 = percentiles(self.contender.latencies_ms)[1]
        without, beside = p99[::2], p99[1::2]
        print(f"{name}{statistics.median(without):11.2f}{statistics.median(beside):9.2f}{paired(without, beside):8.2f}{self.lost:8,}  {self._its_end}")

    @property
    def _its_end(self) -> str:
        dropped = [seconds for seconds in self.gone if seconds is not None]
        if len(dropped) < len(self.gone):
            return f"still there after {GONE_SECONDS:g} s"
        return f"dropped within {max(dropped):.1f} s"


def measure_stalled(names: list[str], count: int, rounds: int) -> None:
    with ExitStack() as ending:
        contenders = [Contender(name, count) for name in names]
        for each in contenders:
            ending.callback(each.end)
        for each in contenders:
            each.connect()
            each.pace(64, 1)
            each.forget()
        beside = [Beside(each) for each in contenders]
        for _ in range(rounds):
            in_turn(beside, 1, Beside.round)
            for each in beside:
                each.settle()
        print(f"\nPaced, 10 messages of 64 B a second to {count:,} subscribers, beside one that never reads")
        print(f"{'':24}{'p99 without':>11}{'p99 ms':>9}{'ratio':>8}{'lost':>8}  the one that never reads")
        for each in beside:
            each.print()

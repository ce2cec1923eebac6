"""``python -m tests.bench.fanout``: every variant in turn within one run, as ratios to the documentation's manager.

Absolute figures drift with the machine; the ratios hold. The whole run takes under three minutes, ``--quick`` under thirty seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.bench.fanout.servers import DOCUMENTATION, OURS, VARIANTS, missing

BURST = 8
PACE_A_SECOND = 10
PACED_MESSAGES = 5  # a round
STUCK_SECONDS = 4.0


class Process:
    """A child that answers lines of JSON with lines of JSON."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", f"tests.bench.fanout.{module}", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, *command: Any) -> None:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        return json.loads(self.process.stdout.readline())

    def ask(self, *command: Any) -> dict[str, Any]:
        self.tell(*command)
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Contender:
    """One variant's server and its subscribers, and what was measured of them."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count
        self.server, self.subscribers = Process("servers", name), Process("subscribers")
        self.memory_bytes = 0.0  # a connection
        self.message_bytes: dict[int, int] = {}
        self.a_second: list[float] = []
        self.cpu_microseconds: list[float] = []
        self.latencies_ms: list[list[float]] = []  # by round

    def connect(self) -> None:
        self.about = self.server.answer()
        self._subscribe(self.count // 4)
        before = self._usage("memory_bytes")
        self._subscribe(self.count - self.count // 4)
        self.memory_bytes = (self._usage("memory_bytes") - before) / (self.count - self.count // 4)

    def _usage(self, what: str) -> float:
        return self.server.ask("usage", what)[what]

    def _subscribe(self, count: int) -> None:
        self.subscribers.ask("connect", self.about["port"], self.about["path"], self.about["greeting"], count)
        self.subscribers.ask("quiet", 0.3)

    def burst(self, size: int, bursts: int) -> None:
        deliveries = bursts * BURST * self.count
        expected = deliveries * self._message_bytes(size)
        cpu_before = self._usage("cpu_seconds")
        self.server.tell("burst", 30, size, bursts, BURST)
        done = self.subscribers.ask("count_until", expected, 30)
        began = self.server.answer()["began"]
        assert done["seen"] == expected, f"{self.name}: {done}, expected {expected} bytes"
        self.a_second.append(deliveries / (done["at"] - began) * 1e9)
        self.cpu_microseconds.append((self._usage("cpu_seconds") - cpu_before) / deliveries * 1e6)

    def pace(self, size: int, messages: int) -> int:
        """Time so many messages; returns how many deliveries did not come."""
        message_bytes = self._message_bytes(size)
        seconds = messages / PACE_A_SECOND + STUCK_SECONDS
        self.server.tell("pace", seconds, size, messages, PACE_A_SECOND)
        timed = self.subscribers.ask("time_messages", message_bytes, messages, seconds)
        published = self.server.answer().get("published", [])
        self.latencies_ms.append([(at - began) / 1e6 for began, arrived in zip(published, timed["arrivals"], strict=False) for at in arrived])
        return timed["missing"]

    def stall(self, size: int, messages: int) -> str:
        """One more subscriber, which never reads, and so many messages; returns what became of the others."""
        self.subscribers.ask("stall", self.about["port"], self.about["path"], self.about["greeting"])
        message_bytes = self._message_bytes(size)
        before = self._usage("memory_bytes")
        expected = messages * self.count * message_bytes
        self.server.tell("burst", STUCK_SECONDS, size, messages // BURST, BURST)
        done = self.subscribers.ask("count_until", expected, STUCK_SECONDS)
        self.server.answer()
        if done["seen"] < expected:
            return f"everybody stopped after {done['seen'] / self.count / 2**20:.1f} MiB"
        grown = (self._usage("memory_bytes") - before) / 2**20
        return f"{grown:.0f} MiB more memory{' (the Timeline keeps up to 16 of payloads)' if self.name == OURS else ''}"

    def forget(self) -> None:
        self.a_second, self.cpu_microseconds, self.latencies_ms = [], [], []

    def end(self) -> None:
        self.server.end()
        self.subscribers.end()

    def _message_bytes(self, size: int) -> int:
        """How many bytes a message of this size has on the wire, once measured."""
        if size not in self.message_bytes:
            self.server.ask("burst", 10, size, 1, 1)
            self.message_bytes[size] = self.subscribers.ask("quiet", 0.3)["bytes"]
        return self.message_bytes[size]


def in_turn(contenders: list[Contender], rounds: int, what: Callable[[Contender], object], within_seconds: float = 12.0) -> None:
    """Every contender in every round, each round in another order; at least two rounds, and no more once the time is over."""
    deadline = time.monotonic() + within_seconds
    for number in range(rounds):
        if number >= 2 and time.monotonic() > deadline:
            return
        for contender in random.sample(contenders, len(contenders)):
            what(contender)


def paired(base: list[float], own: list[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(mine / theirs for mine, theirs in zip(own, base, strict=True))


def print_bursts(contenders: list[Contender], size: int) -> None:
    base = contenders[0]
    broadcast = next((each for each in contenders if each.name == "websockets.broadcast"), base)
    print(f"\nBursts of {BURST} × {size:,} B to {base.count:,} subscribers")
    print(f"{'':24}{'deliveries/s':>14}{'CPU µs each':>13}{'ratio':>8}{'CPU ratio':>11}{'to broadcast()':>16}")
    for each in contenders:
        ratio, cpu_ratio = paired(base.a_second, each.a_second), paired(each.cpu_microseconds, base.cpu_microseconds)
        to_broadcast = paired(broadcast.a_second, each.a_second)
        rate, cpu = statistics.median(each.a_second), statistics.median(each.cpu_microseconds)
        print(f"{each.name:24}{rate:14,.0f}{cpu:13.2f}{ratio:8.2f}{cpu_ratio:11.2f}{to_broadcast:16.2f}")


def print_paced(contenders: list[Contender], title: str) -> None:
    """Medians of the rounds and of their ratios; then the ratios of the best rounds, which a busy machine disturbs least."""
    print(f"\n{title}\n{'':24}{'p50 ms':>9}{'p99 ms':>9}{'p50 ratio':>11}{'p99 ratio':>11}{'best p50':>10}{'best p99':>10}")
    base = percentiles(contenders[0])
    for each in contenders:
        own = percentiles(each)
        p50, p99 = (statistics.median(column) for column in own)
        ratios = [paired(theirs, mine) for theirs, mine in zip(base, own, strict=True)]
        best = [min(mine) / min(theirs) for theirs, mine in zip(base, own, strict=True)]
        print(f"{each.name:24}{p50:9.2f}{p99:9.2f}{ratios[0]:11.2f}{ratios[1]:11.2f}{best[0]:10.2f}{best[1]:10.2f}")


def percentiles(contender: Contender) -> tuple[list[float], list[float]]:
    """The p50 and the p99 of each round."""
    rounds = [sample for sample in contender.latencies_ms if sample]
    return [statistics.median(sample) for sample in rounds], [statistics.quantiles(sample, n=100)[98] for sample in rounds]


def print_memory(contenders: list[Contender]) -> None:
    base = contenders[0]
    print(f"\nMemory a connection, at the last three quarters of {base.count:,}")
    for each in contenders:
        print(f"{each.name:24}{each.memory_bytes / 1024:9.1f} KiB{each.memory_bytes / base.memory_bytes:11.2f} × plain uvicorn")


def measure(names: list[str], count: int, sizes: list[int], bursts: int, rounds: int, paced_rounds: int) -> None:
    contenders = [Contender(name, count) for name in names]
    try:
        for each in contenders:
            each.connect()
        print_memory(contenders)
        for size in sizes:
            in_turn(contenders, 1, lambda each, size=size: each.burst(size, 1))
            for each in contenders:
                each.forget()
            in_turn(contenders, rounds, lambda each, size=size: each.burst(size, bursts))
            print_bursts(contenders, size)
            in_turn(contenders, paced_rounds, lambda each, size=size: each.pace(size, PACED_MESSAGES))
            print_paced(contenders, f"Paced, {PACE_A_SECOND} messages of {size:,} B a second to {count:,} subscribers")
    finally:
        for each in contenders:
            each.end()


def measure_stalled(names: list[str], count: int, paced_rounds: int) -> None:
    """The same with one more subscriber, which never reads: first it is filled up, then the others are timed."""
    contenders = [Contender(name, count) for name in names]
    try:
        for each in contenders:
            each.connect()
        in_turn(contenders, paced_rounds, lambda each: each.pace(64, PACED_MESSAGES))
        before = {each.name: statistics.median(percentiles(each)[1]) for each in contenders}
        print(f"\nPaced, {PACE_A_SECOND} messages of 64 B a second to {count:,} subscribers, beside one that never reads")
        print(f"{'':24}{'p99 before':>11}{'p99 ms':>9}{'ratio':>8}")
        for each in contenders:
            outcome = each.stall(65_536, 160)
            each.forget()
            if "stopped" in outcome:
                print(f"{each.name:24}{before[each.name]:11.2f}{'':17}  {outcome}")
                continue
            lost = sum(each.pace(64, PACED_MESSAGES) for _ in range(paced_rounds))
            p99 = statistics.median(percentiles(each)[1])
            print(f"{each.name:24}{before[each.name]:11.2f}{p99:9.2f}{p99 / before[each.name]:8.2f}  {lost:,} lost; {outcome}")
    finally:
        for each in contenders:
            each.end()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fanout", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 30 s: 1,000 subscribers and 64 B only, and the two that the kit is judged by")
    parser.add_argument("--only", help="names of variants, divided by commas; the documentation's is always there")
    arguments = parser.parse_args()
    wanted = [DOCUMENTATION, "websockets.broadcast", OURS] if arguments.quick else list(VARIANTS)
    if arguments.only:
        wanted = [DOCUMENTATION, *(name for name in VARIANTS if name in arguments.only.split(",") and name != DOCUMENTATION)]
    for name in wanted:
        if missing(name):
            print(f"{name}: skipped, {missing(name)} is not installed")
    names = [name for name in wanted if not missing(name)]
    if arguments.quick:
        measure(names, 1_000, [64], bursts=3, rounds=5, paced_rounds=5)
    else:
        measure(names, 100, [64, 1_024], bursts=20, rounds=4, paced_rounds=3)
        measure(names, 1_000, [64, 1_024], bursts=3, rounds=4, paced_rounds=3)
        measure_stalled(names, 100, paced_rounds=3)


if __name__ == "__main__":
    main()

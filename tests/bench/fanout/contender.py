"""Whoever takes part in a measurement: a child process or some, what is asked of them, and what was measured."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["BURST", "PACED_MESSAGES", "PACE_A_SECOND", "STUCK_SECONDS", "Contender", "Process", "in_turn"]

T = TypeVar("T")

BURST = 8
PACE_A_SECOND = 10
PACED_MESSAGES = 3  # a round: the fewer, the more rounds, and the nearer in time what is compared
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

    def burst(self, size: int, bursts: int) -> None:
        deliveries = bursts * BURST * self.count
        cpu_before = self._usage("cpu_seconds")
        seconds, seen = self._deliver(size, bursts, within_seconds=30)
        assert seen == deliveries, f"{self.name}: {seen:,} came of {deliveries:,}"
        self.a_second.append(deliveries / seconds)
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

    def stall(self) -> None:
        """One more subscriber, which never reads."""
        self.subscribers.ask("stall", self.about["port"], self.about["path"], self.about["greeting"])

    def unstall(self) -> None:
        """It leaves."""
        self.subscribers.ask("unstall")
        self.server.ask("until_at_most", self.count, STUCK_SECONDS)

    def fill(self, size: int, bursts: int, within_seconds: float) -> float:
        """Give everybody so much; returns the part of it that those who read had in time."""
        _, seen = self._deliver(size, bursts, within_seconds)
        return seen / (bursts * BURST * self.count)

    def forget(self) -> None:
        self.a_second, self.cpu_microseconds, self.latencies_ms = [], [], []

    def end(self) -> None:
        self.server.end()
        self.subscribers.end()

    def _deliver(self, size: int, bursts: int, within_seconds: float) -> tuple[float, float]:
        """So many bursts: the seconds until the last came, and how many deliveries came."""
        message_bytes = self._message_bytes(size)
        self.server.tell("burst", within_seconds, size, bursts, BURST)
        done = self.subscribers.ask("count_until", bursts * BURST * self.count * message_bytes, within_seconds)
        began = self.server.answer().get("began", done["at"])
        return (done["at"] - began) / 1e9, done["seen"] / message_bytes

    def _usage(self, what: str) -> float:
        return self.server.ask("usage", what)[what]

    def _subscribe(self, count: int) -> None:
        self.subscribers.ask("connect", self.about["port"], self.about["path"], self.about["greeting"], count)
        self.subscribers.ask("quiet", 0.3)

    def _message_bytes(self, size: int) -> int:
        """How many bytes a message of this size has on the wire, once measured."""
        if size not in self.message_bytes:
            self.server.ask("burst", 10, size, 1, 1)
            self.message_bytes[size] = self.subscribers.ask("quiet", 0.3)["bytes"]
        return self.message_bytes[size]


def in_turn(contenders: Sequence[T], rounds: int, what: Callable[[T], object], within_seconds: float = 8.0) -> None:
    """Every contender in every round, each round in another order; at least two rounds, and no more once the time is over."""
    deadline = time.monotonic() + within_seconds
    for number in range(rounds):
        if number >= 2 and time.monotonic() > deadline:
            return
        for contender in random.sample(contenders, len(contenders)):
            what(contender)

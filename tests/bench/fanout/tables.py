"""What was measured, as tables of medians and of ratios within each round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tests.bench.fanout.contender import BURST, Contender

__all__ = ["paired", "percentiles", "print_bursts", "print_memory", "print_paced"]


def paired(base: Sequence[float], own: Sequence[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(mine / theirs for mine, theirs in zip(own, base, strict=True))


def percentiles(latencies_ms: list[list[float]]) -> tuple[list[float], list[float]]:
    """The p50 and the p99 of each round, over every receiver of every message."""
    rounds = [sample for sample in latencies_ms if sample]
    return [statistics.median(sample) for sample in rounds], [statistics.quantiles(sample, n=100)[98] for sample in rounds]


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
    base = percentiles(contenders[0].latencies_ms)
    for each in contenders:
        own = percentiles(each.latencies_ms)
        p50, p99 = (statistics.median(column) for column in own)
        ratios = [paired(theirs, mine) for theirs, mine in zip(base, own, strict=True)]
        best = [min(mine) / min(theirs) for theirs, mine in zip(base, own, strict=True)]
        print(f"{each.name:24}{p50:9.2f}{p99:9.2f}{ratios[0]:11.2f}{ratios[1]:11.2f}{best[0]:10.2f}{best[1]:10.2f}")


def print_memory(contenders: list[Contender]) -> None:
    base = contenders[0]
    print(f"\nMemory a connection, at the last three quarters of {base.count:,}")
    for each in contenders:
        print(f"{each.name:24}{each.memory_bytes / 1024:9.1f} KiB{each.memory_bytes / base.memory_bytes:11.2f} × plain uvicorn")

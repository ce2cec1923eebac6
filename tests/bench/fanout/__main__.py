"""``python -m tests.bench.fanout``: every variant in turn within one run, as ratios to the documentation's manager.

Absolute figures drift with the machine; the ratios hold. The whole run takes under three minutes, ``--quick`` under forty seconds.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from tests.bench.fanout.across import measure_across
from tests.bench.fanout.contender import PACE_A_SECOND, PACED_MESSAGES, Contender, in_turn
from tests.bench.fanout.servers import DOCUMENTATION, OURS, VARIANTS, missing
from tests.bench.fanout.stalled import measure_stalled
from tests.bench.fanout.tables import print_bursts, print_memory, print_paced

FANOUT, STALLED, PROCESSES = "fanout", "stalled", "processes"
SECTIONS = (FANOUT, STALLED, PROCESSES)


def measure(names: list[str], count: int, paced_rounds: dict[int, int], *, bursts: int, rounds: int) -> None:
    """Memory, bursts, and messages at a pace: as many rounds of those as ``paced_rounds`` says for each size."""
    with ExitStack() as ending:
        contenders = [Contender(name, count) for name in names]
        for each in contenders:
            ending.callback(each.end)
        for each in contenders:
            each.connect()
        if count >= 1_000:  # fewer do not show above what a server takes when it starts
            print_memory(contenders)
        for size in paced_rounds:
            for each in contenders:
                each.burst(size, 1)
                each.forget()
            in_turn(contenders, rounds, lambda each, size=size: each.burst(size, bursts), within_seconds=5)
            print_bursts(contenders, size)
            in_turn(contenders, paced_rounds[size], lambda each, size=size: each.pace(size, PACED_MESSAGES), within_seconds=30)
            print_paced(contenders, f"Paced, {PACE_A_SECOND} messages of {size:,} B a second to {count:,} subscribers")


def wanted(arguments: argparse.Namespace) -> list[str]:
    """The variants to compare: those that are asked for, and installed."""
    names = [DOCUMENTATION, "websockets.broadcast", OURS] if arguments.quick else list(VARIANTS)
    if arguments.variants:
        names = [name for name in VARIANTS if name == DOCUMENTATION or name in arguments.variants.split(",")]
    for name in names:
        if missing(name):
            print(f"{name}: skipped, {missing(name)} is not installed (uv run --group bench …)")
    return [name for name in names if not missing(name)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fanout", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 subscribers and 64 B only, and those that the kit is judged by")
    parser.add_argument("--only", choices=SECTIONS, help="one section: the fan-out, the same beside a subscriber that never reads, or across two processes")
    parser.add_argument("--variants", help="names of variants, divided by commas; the documentation's is always there")
    arguments = parser.parse_args()
    sections = [arguments.only] if arguments.only else [FANOUT] if arguments.quick else SECTIONS
    names = wanted(arguments) if sections != [PROCESSES] else []
    if FANOUT in sections and arguments.quick:
        measure(names, 1_000, {64: 20}, bursts=3, rounds=5)
    elif FANOUT in sections:
        measure(names, 100, {64: 5, 1_024: 3}, bursts=20, rounds=3)
        measure(names, 1_000, {64: 7, 1_024: 3}, bursts=2, rounds=3)
    if STALLED in sections:
        measure_stalled(names, 100, rounds=2)
        measure_stalled([OURS], 1_000, rounds=2)
    if PROCESSES in sections:
        measure_across(rounds=3)


if __name__ == "__main__":
    main()

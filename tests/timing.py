"""How long something takes, in a time that stretches with the load of the machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

NAP_SECONDS = 0.01


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """The block takes less time than a thread beside it takes for so many seconds' worth of naps.

    Where other work keeps the machine from running the block, it lengthens the naps as well.
    """
    over, naps = threading.Event(), 0

    def take_naps() -> None:
        nonlocal naps
        while not over.wait(NAP_SECONDS):
            naps += 1

    napping = threading.Thread(target=take_naps, name="naps", daemon=True)
    napping.start()
    try:
        yield
    finally:
        over.set()
        napping.join()
    assert naps * NAP_SECONDS < seconds

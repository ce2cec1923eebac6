"""A bounded queue of deliveries, and the three policies for whoever does not take them fast enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from kit.hub.delivery import Delivery
from kit.hub.message import Gap
from kit.loops import Mailbox
from kit.printable import human_bytes, quoted

__all__ = ["TOO_SLOW_CODE", "Backlog", "BacklogLimits", "Policy", "check_policy"]

Policy = Literal["disconnect", "drop_oldest", "block"]

TOO_SLOW_CODE = 1013


@dataclass(frozen=True, slots=True)
class BacklogLimits:
    """How much may wait for one subscriber, and how long others wait for it.

    Attributes:
        messages: that wait at most.
        waiting_bytes: of them at most; a single longer message may wait alone.
        block_seconds: how long a publisher waits under the policy ``"block"`` before the subscriber is disconnected.
        stuck_seconds: after which a socket that takes nothing, while something waits for it, is aborted.
    """

    messages: int = 1000
    waiting_bytes: int = 4 << 20
    block_seconds: float = 2.0
    stuck_seconds: float = 3.0


def check_policy(policy: str) -> Policy:
    """``policy``, if there is one of that name; otherwise a ``ValueError`` that names them all."""
    if policy not in get_args(Policy):
        raise ValueError(f"policy= is one of {', '.join(map(repr, get_args(Policy)))}, but got {quoted(repr(policy))}.")
    return policy


class Backlog:
    """What waits for one subscriber. ``put`` is called on one loop; ``take`` and ``get`` on any one.

    - ``"disconnect"``: a full queue refuses, and the subscriber is to be disconnected;
    - ``"drop_oldest"``: a full queue makes room, and counts what it dropped;
    - ``"block"``: the publishers of this process wait for ``space``. What comes from other processes cannot be made to
      wait: at twice the bound the queue refuses like the first.

    Where messages were dropped, a `Gap` is taken in their place.

    Attributes:
        dropped: messages that made room for newer ones.
    """

    def __init__(self, room: str, policy: Policy, limits: BacklogLimits) -> None:
        self.room = room
        self.policy = policy
        self.limits = limits
        self.dropped = 0
        self._dropped_told = 0
        self._caught_up = deque[Delivery]()
        self._next: Delivery | None = None  # taken from the queue, and waiting for its gap to be told
        self._waiting = Mailbox[tuple[Delivery, int]]()
        self._put_bytes = 0  # ever since; each item carries the sum at its end, so that no two loops change one number
        self._taken_bytes = 0
        self._space_wanted = False
        self._space = Mailbox[None]()

    def __len__(self) -> int:
        return len(self._caught_up) + (self._next is not None) + len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all that waits."""
        return self._put_bytes - self._taken_bytes if self._waiting else 0

    @property
    def full(self) -> bool:
        """Whether the bound is reached."""
        return self._exceeds(1, 0)

    def put(self, delivery: Delivery) -> bool:
        """Add ``delivery``; False when the policy says to disconnect instead."""
        times = 2 if self.policy == "block" else 1
        while self._exceeds(times, delivery.size):
            if self.policy != "drop_oldest":
                return False
            self.dropped += self._throw_away()
        self._put_bytes += delivery.size
        self._waiting.put([(delivery, self._put_bytes)])
        return True

    def begin_with(self, deliveries: Iterable[Delivery]) -> None:
        """Put ``deliveries`` before all that comes: a part of a room's history, which has a bound of its own."""
        self._caught_up.extend(deliveries)

    def take(self) -> Delivery:
        """The oldest delivery; ``IndexError`` when none waits."""
        if self._caught_up:
            return self._caught_up.popleft()
        if self._next is None:
            self._next = self._took(self._waiting.take())
        return self._gap_or_next()

    async def get(self) -> Delivery:
        """Wait for the oldest delivery and take it; a cancelled call takes nothing.

        Raises:
            EOFError: the backlog is closed and empty.
        """
        if self._caught_up:
            return self._caught_up.popleft()
        if self._next is None:
            self._next = self._took(await self._waiting.get())
        return self._gap_or_next()

    async def space(self) -> None:
        """Wait until it is no longer full, or closed."""
        while self.full and not self._waiting.closed:
            self._space_wanted = True
            if self.full and not self._waiting.closed:
                await self._space.get()

    def clear(self) -> None:
        """Throw away all that waits."""
        self._caught_up.clear()
        while self._waiting:
            self._throw_away()
        self._next = None

    def close(self) -> None:
        """Say that nothing more will come; who waits in ``get`` has what is left, then ``EOFError``."""
        self._waiting.close()
        self._tell_space()

    def in_words(self) -> str:
        """How much waits, as a reason for disconnecting, short enough for a Close frame (RFC 6455 §5.5.1)."""
        return f"too slow: {len(self):,} messages ({human_bytes(self.waiting_bytes)}) were waiting"

    def _exceeds(self, times: int, more_bytes: int) -> bool:
        count = len(self._waiting)
        return count >= times * self.limits.messages or (count > 0 and self.waiting_bytes + more_bytes >= times * self.limits.waiting_bytes)

    def _throw_away(self) -> int:
        try:
            self._took(self._waiting.take())
        except IndexError:  # the other loop was quicker
            return 0
        return 1

    def _gap_or_next(self) -> Delivery:
        if self._dropped_told < self.dropped:
            count, self._dropped_told = self.dropped - self._dropped_told, self.dropped
            return Delivery(Gap(self.room, "too slow: the oldest made room for newer ones", count))
        delivery, self._next = self._next, None
        return delivery

    def _took(self, item: tuple[Delivery, int]) -> Delivery:
        delivery, self._taken_bytes = item
        if self._space_wanted and not self.full:
            self._tell_space()
        return delivery

    def _tell_space(self) -> None:
        self._space_wanted = False
        self._space.put([None])

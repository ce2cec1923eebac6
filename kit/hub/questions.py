"""What a hub asks the others about who is in their rooms, and whether all have answered that are there. Lives on the hub's loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from kit.hub.broker import Broker
from kit.hub.errors import HubError
from kit.hub.following import Due, Followed, Following
from kit.hub.peers import Peers
from kit.hub.roll_call import Word
from kit.printable import quoted

__all__ = ["Questions"]

ANSWER_SECONDS = 0.5  # what hubs may take to be heard by one that is new; and to answer, before the next ones are asked for
_PATIENCE = 5  # times ANSWER_SECONDS: the longest that questions wait for a slow broker while none of them comes back


class Questions:
    """The rooms that somebody here asks for, until they are answered.

    Args:
        following: those that this hub wants to be told of.
        peers: the others.
        wake: called when something more may be asked for.

    Attributes:
        connected: whether the broker can be reached.
    """

    def __init__(self, following: Following, peers: Peers, wake: Callable[[], None]) -> None:
        self.connected = True
        self._following = following
        self._peers = peers
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._greeted = False
        self._came_back_at = 0.0

    async def ask(self, broker: Broker, due: Due) -> None:
        """Note what is to be asked for now; the rest a moment later.

        Raises:
            HubError: the broker cannot bring the answers.
        """
        if await self._following.enter_and_leave(broker, due, ANSWER_SECONDS):
            self._loop.call_later(ANSWER_SECONDS, self._wake)

    async def answered(self, room: str, followed: Followed, alive_seconds: float) -> None:
        """Wait as long as it takes to ask, while at least other questions are asked; and then until all have answered, or are given up.

        Raises:
            HubError: it could not be asked; or somebody who is there has not answered for ``alive_seconds``.
        """
        patience = _PATIENCE * ANSWER_SECONDS
        while not followed.answered.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await followed.answered.wait()
                    break
            now = self._loop.time()
            if followed.asked_at is not None and self.connected:
                self._check_still_waits(room, now - followed.asked_at, alive_seconds)
            elif self._came_back_at + patience <= now:
                why = "the broker is too slow" if self.connected else "the broker cannot be reached"
                raise HubError(f"who is in {quoted(room)} in other processes could not be asked within {patience:g} s: {why}. Try again.")

    def came_back(self, word: Word) -> None:
        """The broker has brought what was said here: by now others have the question too, or the greeting, which those who are there answer."""
        self._came_back_at = now = self._loop.time()
        for room in word.ask:
            if (followed := self._following.rooms.get(room)) is not None and followed.asked_at is None:
                followed.asked_at = now
        if word.hello:
            self._loop.call_later(ANSWER_SECONDS, self._had_time)
        self.check(word.ask)

    def greets_again(self) -> None:
        """Something was missed: others may be there of whom nothing was heard."""
        self._greeted = False

    def check(self, rooms: Iterable[str] | None = None) -> None:
        """See which of these rooms, or of all, everybody has answered for; not before others had time to be heard at all."""
        if not self._greeted:
            return
        for room in self._following.unanswered if rooms is None else rooms:
            followed = self._following.rooms.get(room)
            if followed is not None and followed.asked_at is not None and not followed.answered.is_set() and not self._peers.missing(room):
                followed.answered.set()
                self._wake()

    def end(self) -> None:
        """Nobody waits any more."""
        for followed in self._following.rooms.values():
            followed.answered.set()

    def _had_time(self) -> None:
        """Whoever is there has been heard, or heard of."""
        self._greeted = True
        self.check()

    def _check_still_waits(self, room: str, waited_seconds: float, alive_seconds: float) -> None:
        if waited_seconds >= alive_seconds:
            silent = f"{self._peers.missing(room)} of {len(self._peers.known)} other hubs did not answer within {waited_seconds:.0f} s, though alive"
            raise HubError(f"who is in {quoted(room)} in other processes is not known: {silent}. Try again.")

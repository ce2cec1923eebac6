"""Who is in a room in all processes: a hub tells the others of its members, and hears of theirs, by messages on the broker that joins them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import secrets
from collections.abc import Callable

from kit.hub.announcements import Announcements
from kit.hub.broker import Broker
from kit.hub.errors import HubError
from kit.hub.following import Due, Following
from kit.hub.message import ComingOrGoing
from kit.hub.news import News
from kit.hub.peers import Peers
from kit.hub.presence import Arrival, Present
from kit.hub.questions import Questions
from kit.hub.roll_call import LOBBY, MOST_BYTES, Roll, Word, read_roll, read_word, room_of, word_messages

__all__ = ["Attendance"]

BEAT_SECONDS = 5.0  # between two signs of life, more or less
SILENT_SECONDS = 20.0  # after which a hub that says nothing is given up: for so long a ghost may stay
LISTS_SECONDS = 60.0  # after which whole lists are said again, in case that something went missing
KEPT_SECONDS = 60.0  # for which a room that was asked for is followed

_TICKS_A_BEAT = 5
_BYE_SECONDS = 0.5


class Attendance:
    """What one hub knows of the members of the others, and tells them of its own. Lives on the hub's loop.

    A hub with members, or with a question, listens in the lobby: it greets those who are there, and they greet it. From then on all give signs
    of life, so that each knows whose answers to wait for; one that is alone is silent. To a question a hub says in the lobby that nobody
    of its is in the room, or who is in the room's companion, where only those listen who want to know; there it also says who comes and goes.
    Nothing here is waited for by who joins, leaves or publishes: one task says what is due, and tries again when the broker does not take it.

    Args:
        broker: of the hub, whose members are alone with it if it is None.
        here: this hub's members in a room, in the order in which they came.
        tell: gets what is news, one notice after the other.
        max_message_bytes: of the hub.
    """

    def __init__(self, broker: Broker | None, here: Callable[[str], list[Arrival]], tell: Callable[[ComingOrGoing], None], max_message_bytes: int) -> None:
        self._broker = broker
        self._part_bytes = min(max_message_bytes, MOST_BYTES)
        self._id = secrets.token_hex(8)
        self._loop = asyncio.get_running_loop()
        self._peers = Peers()
        self._following = Following()
        self._due = Due()
        self._announcements = Announcements(self._id, here, self._peers.wanted, self._publish, self._part_bytes)
        self._news = News(tell)
        self._in_lobby = False
        self._woken = asyncio.Event()
        self._questions = Questions(self._following, self._peers, self._woken.set)
        self._task: asyncio.Task[None] | None = None

    # What the hub says.

    def came(self, room: str, present: Present) -> None:
        """Somebody has joined ``room`` here."""
        self._changed(room, present.id, present)

    def went(self, room: str, identity: str) -> None:
        """And has left it."""
        self._changed(room, identity, None)

    def follow(self, room: str) -> None:
        """Somebody here wants to be told who comes and goes, until as many have said `unfollow`."""
        if self._broker is not None:
            self._following.open(room).followers += 1
            self._wake()

    def unfollow(self, room: str) -> None:
        """One of those does not want to any more."""
        if (followed := self._following.rooms.get(room)) is not None:
            followed.followers -= 1

    async def elsewhere(self, room: str) -> list[Present]:
        """Who is in ``room`` elsewhere; the first question waits for the answers of all who are there.

        Raises:
            HubError: it could not be asked, or somebody does not answer.
        """
        if self._broker is None:
            return []
        followed = self._following.open(room)
        followed.followers += 1
        self._wake()
        try:
            await self._questions.answered(room, followed, SILENT_SECONDS + BEAT_SECONDS)
        finally:
            followed.followers -= 1
            followed.until = self._loop.time() + KEPT_SECONDS
        if self._task is None:
            raise HubError("the hub was closed.")
        return self._peers.present(room)

    def count(self, room: str) -> int | None:
        """How many are in ``room`` elsewhere, or None while nobody here wants to know; from any loop."""
        return 0 if self._broker is None else self._peers.count(room) if room in self._following.rooms else None

    def known(self, room: str) -> list[Present]:
        """Those of them who are known at the moment; from any loop."""
        return self._peers.present(room)

    def followed(self) -> list[str]:
        """The rooms that somebody here wants to be told of; from any loop."""
        return list(self._following.rooms)

    async def end(self) -> None:
        """Say good-bye, if somebody listens and the broker takes it at once."""
        task, self._task = self._task, None
        self._questions.end()
        self._following.rooms.clear()
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._questions.connected and self._in_lobby:
            with contextlib.suppress(HubError, TimeoutError):
                async with asyncio.timeout(_BYE_SECONDS):
                    await self._publish(LOBBY, word_messages(self._id, self._part_bytes, bye=True))

    # What the broker says.

    def message(self, room: str, payload: bytes) -> None:
        """A message in the lobby or in a companion; ``ValueError`` when no hub wrote it."""
        if room == LOBBY:
            self._hear_word(read_word(payload))
        else:
            self._hear_roll(room_of(room), read_roll(payload))

    def gap(self, room: str | None) -> None:
        """Something of it was lost: ask again."""
        if room in (None, LOBBY):
            self._ask_again()
        elif (name := room_of(room)) in self._following.entered:
            self._due.ask[name] = None
            self._woken.set()

    def state(self, connected: bool) -> None:
        """The broker can be reached, or cannot: nobody could be heard meanwhile."""
        if connected and not self._questions.connected:
            self._peers.forgive()
            self._say_all_again()
        self._questions.connected = connected

    def _hear_word(self, word: Word) -> None:
        if word.hub == self._id:
            self._questions.came_back(word)
        elif word.bye:
            self._news.put(self._peers.forget(word.hub, for_ever=True))
            self._questions.check()
        elif self._hear(word.hub):
            self._answer(word)

    def _answer(self, word: Word) -> None:
        for hub in word.others:
            if hub != self._id:
                self._peers.heard_of(hub)
        for room in word.none:
            if room in self._following.rooms:
                self._peers.has_none(word.hub, room)
        self._questions.check(word.none)
        self._due.none |= dict.fromkeys(self._announcements.list_soon(self._peers.wants(word)))
        self._due.want |= word.hello and bool(self._following.rooms)
        self._due.others |= word.hello
        self._woken.set()

    def _hear_roll(self, room: str, roll: Roll) -> None:
        followed = self._following.rooms.get(room)
        if roll.hub != self._id and followed is not None and self._hear(roll.hub):
            news_seconds = math.inf if followed.answered.is_set() else self._loop.time() - followed.since
            self._news.put(self._peers.change(room, roll, news_seconds=news_seconds))
            self._questions.check([room])

    def _hear(self, hub: str) -> bool:
        """Whether to listen to ``hub``; one that was given up has members of whom nothing is known."""
        given_up = self._peers.heard(hub)
        if given_up:
            self._ask_again()
        return given_up is not None

    # What becomes due.

    def _changed(self, room: str, identity: str, present: Present | None) -> None:
        says = self._announcements.changed(room, identity, present)
        if says or (self._task is None and self._broker is not None):
            self._wake()

    def _ask_again(self) -> None:
        self._due.hello = True
        self._questions.greets_again()
        self._due.ask |= dict.fromkeys(self._following.entered)
        self._announcements.list_soon(self._peers.wanted)
        self._woken.set()

    def _say_all_again(self) -> None:
        self._beat_at, self._lists_at = 0.0, self._loop.time() + LISTS_SECONDS * random.uniform(0.75, 1.25)
        self._due.want |= bool(self._following.rooms)
        self._announcements.list_soon(self._announcements.announced)
        self._woken.set()

    def _wake(self) -> None:
        self._woken.set()
        if self._task is None:
            self._beat_at = self._lists_at = self._ticked_at = self._loop.time()
            self._say_all_again()
            self._task = self._loop.create_task(self._live(), name="hub's presence")

    # The task.

    async def _live(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._ticked_at + BEAT_SECONDS / _TICKS_A_BEAT):
                    await self._woken.wait()
            self._woken.clear()
            self._pass_time()
            if self._questions.connected:
                with contextlib.suppress(HubError):  # what was not said stays due
                    await self._enter()
                    await self._say_word()
                    await self._announcements.say()

    def _pass_time(self) -> None:
        """Let a tick pass, if it is over; a loop that was blocked for long counts as two, for it could not listen either."""
        now, tick_seconds = self._loop.time(), BEAT_SECONDS / _TICKS_A_BEAT
        if now < self._ticked_at + tick_seconds:
            return
        if self._questions.connected:
            self._news.put(self._peers.age(min(now - self._ticked_at, 2 * tick_seconds), SILENT_SECONDS))
            self._questions.check()
        self._ticked_at = now
        for room in self._following.expire(self._due):
            self._peers.forget_room(room)
        if now >= self._lists_at:
            self._say_all_again()

    async def _enter(self) -> None:
        if not self._in_lobby:
            await self._broker.join(LOBBY)
            self._in_lobby = self._due.hello = True
        await self._questions.ask(self._broker, self._due)

    async def _say_word(self) -> None:
        said, self._due = self._due, Due()
        followed = self._following.rooms
        beats = self._loop.time() >= self._beat_at and bool(followed or self._peers.known)
        if not (beats or said):
            return
        rooms = {
            "ask": said.ask,
            "drop": [room for room in said.drop if room not in followed],  # somebody may want to know again
            "want": list(followed) if said.want else (),
            "none": said.none,
            "others": self._peers.known if said.others else (),
        }
        try:
            await self._publish(LOBBY, word_messages(self._id, self._part_bytes, hello=said.hello, **rooms))
        except BaseException:
            self._due.add(said)
            raise
        self._beat_at = self._loop.time() + BEAT_SECONDS * random.uniform(0.75, 1.25)

    async def _publish(self, room: str, payloads: list[bytes]) -> None:
        for payload in payloads:
            await self._broker.publish(room, payload)

"""Who is in a room in all processes: a hub tells the others of its members, and hears of theirs, by messages on the broker that joins them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import secrets
from collections.abc import Callable, Iterable

from kit.hub.broker import Broker
from kit.hub.errors import HubError
from kit.hub.following import Due, Following
from kit.hub.message import ComingOrGoing
from kit.hub.news import News
from kit.hub.peers import MEMBERS_KNOWN, Peers
from kit.hub.presence import Arrival, Present
from kit.hub.roll_call import LOBBY, MOST_BYTES, Roll, Word, companion_of, read_roll, read_word, roll_messages, room_of, word_messages
from kit.printable import quoted

__all__ = ["Attendance"]

BEAT_SECONDS = 5.0  # between two signs of life, more or less
SILENT_SECONDS = 20.0  # after which a hub that says nothing is given up: for so long a ghost may stay
LISTS_SECONDS = 60.0  # after which whole lists are said again, in case that something went missing
ANSWER_SECONDS = 0.5  # what hubs may take to answer a question that the broker has brought
KEPT_SECONDS = 60.0  # for which a room that was asked for is followed

_TICKS_A_BEAT = 5
_ANSWERS = 5  # times ANSWER_SECONDS: the longest that questions wait for a slow broker while none of them is answered
_QUESTIONS = 200  # rooms that are asked for in ANSWER_SECONDS, so that others can answer in that time
_ROOMS_AT_ONCE = 32
_BYE_SECONDS = 0.5


class Attendance:
    """What one hub knows of the members of the others, and tells them of its own. Lives on the hub's loop.

    A hub with members listens in the lobby, and says nothing there until somebody wants to know who is in one of its rooms.
    From then on it says who comes and goes in the room's companion, where only those listen who want to know.
    Nothing here is waited for by who joins, leaves or publishes: one task says what is due, and tries again when the broker does not take it.

    Args:
        broker: of the hub, whose members are alone with it if it is None.
        here: this hub's members in a room, in the order in which they came.
        tell: gets what is news, one notice after the other.
        max_message_bytes: of the hub.
    """

    def __init__(self, broker: Broker | None, here: Callable[[str], list[Arrival]], tell: Callable[[ComingOrGoing], None], max_message_bytes: int) -> None:
        self._broker = broker
        self._here = here
        self._part_bytes = min(max_message_bytes, MOST_BYTES)
        self._id = secrets.token_hex(8)
        self._loop = asyncio.get_running_loop()
        self._peers = Peers()
        self._following = Following()
        self._due = Due()
        self._lists_due: dict[str, None] = {}
        self._changes: dict[str, dict[str, Present | None]] = {}  # by room and id; None for who has left
        self._announced: set[str] = set()  # rooms that others know to have members here
        self._news = News(tell)
        self._connected = True
        self._in_lobby = False
        self._asked, self._asking_since = 0, 0.0
        self._answered_at = 0.0
        self._woken = asyncio.Event()
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
        """Who is in ``room`` elsewhere; the first question waits for the answers.

        Raises:
            HubError: it could not be asked.
        """
        if self._broker is None:
            return []
        followed = self._following.open(room)
        followed.followers += 1
        self._wake()
        try:
            await self._heard_of(room, followed.answered)
        finally:
            followed.followers -= 1
            followed.until = self._loop.time() + KEPT_SECONDS
        return self._peers.present(room)

    async def _heard_of(self, room: str, answered: asyncio.Event) -> None:
        """Wait as long as it takes, while at least other questions are answered."""
        patience = _ANSWERS * ANSWER_SECONDS
        while not answered.is_set():
            try:
                async with asyncio.timeout(patience):
                    await answered.wait()
            except TimeoutError:
                if self._answered_at + patience <= self._loop.time():
                    why = "the broker is too slow" if self._connected else "the broker cannot be reached"
                    raise HubError(f"who is in {quoted(room)} in other processes could not be asked within {patience:g} s: {why}. Try again.") from None

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
        is_known = bool(self._announced or self._following.rooms)
        self._following.rooms.clear()
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._connected and is_known:
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
        if connected and not self._connected:
            self._peers.forgive()
            self._say_all_again()
        self._connected = connected

    def _hear_word(self, word: Word) -> None:
        if word.hub == self._id:
            self._expect_answers(word)
        elif word.bye:
            self._news.put(self._peers.forget(word.hub, for_ever=True))
        elif self._hear(word.hub):
            self._list_soon(self._peers.wants(word))
            self._due.want |= word.hello and bool(self._following.rooms)
            self._woken.set()

    def _expect_answers(self, word: Word) -> None:
        """The own question has come back: by now others have it too."""
        for room in word.ask:
            if (followed := self._following.rooms.get(room)) is not None:
                self._loop.call_later(ANSWER_SECONDS, self._had_time, followed.answered)

    def _had_time(self, answered: asyncio.Event) -> None:
        answered.set()
        self._answered_at = self._loop.time()

    def _hear_roll(self, room: str, roll: Roll) -> None:
        followed = self._following.rooms.get(room)
        if roll.hub != self._id and followed is not None and self._hear(roll.hub):
            news_seconds = math.inf if followed.answered.is_set() else self._loop.time() - followed.since
            self._news.put(self._peers.change(room, roll, news_seconds=news_seconds))

    def _hear(self, hub: str) -> bool:
        """Whether to listen to ``hub``; one that was given up has members of whom nothing is known."""
        given_up = self._peers.heard(hub)
        if given_up:
            self._ask_again()
        return given_up is not None

    # What becomes due.

    def _changed(self, room: str, identity: str, present: Present | None) -> None:
        if room in self._peers.wanted:
            self._changes.setdefault(room, {})[identity] = present
            self._wake()
        elif self._task is None and self._broker is not None:
            self._wake()

    def _list_soon(self, rooms: Iterable[str]) -> None:
        for room in rooms:
            if room in self._announced or self._here(room):
                self._lists_due[room] = None

    def _ask_again(self) -> None:
        self._due.hello = True
        self._due.ask |= dict.fromkeys(self._following.entered)
        self._list_soon(self._peers.wanted)
        self._woken.set()

    def _say_all_again(self) -> None:
        self._beat_at, self._lists_at = 0.0, self._loop.time() + LISTS_SECONDS * random.uniform(0.75, 1.25)
        self._due.want |= bool(self._following.rooms)
        self._list_soon(self._announced)
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
            if self._connected:
                with contextlib.suppress(HubError):  # what was not said stays due
                    await self._enter()
                    await self._say_word()
                    await self._say_rolls()

    def _pass_time(self) -> None:
        """Let a tick pass, if it is over; a loop that was blocked for long counts as two, for it could not listen either."""
        now, tick_seconds = self._loop.time(), BEAT_SECONDS / _TICKS_A_BEAT
        if now < self._ticked_at + tick_seconds:
            return
        if self._connected:
            self._news.put(self._peers.age(min(now - self._ticked_at, 2 * tick_seconds), SILENT_SECONDS))
        self._ticked_at = now
        for room in self._following.expire(self._due):
            self._peers.forget_room(room)
        if now >= self._lists_at:
            self._say_all_again()

    async def _enter(self) -> None:
        if not self._in_lobby:
            await self._broker.join(LOBBY)
            self._in_lobby = self._due.hello = True
        await self._ask_in_turn()

    async def _ask_in_turn(self) -> None:
        """So many rooms at a time that others can answer; the next ones a moment later."""
        if self._loop.time() >= self._asking_since + ANSWER_SECONDS:
            self._asked, self._asking_since = 0, self._loop.time()
        self._asked += await self._following.enter_and_leave(self._broker, self._due, _QUESTIONS - self._asked)
        if self._asked >= _QUESTIONS:
            self._loop.call_later(ANSWER_SECONDS, self._woken.set)

    async def _say_word(self) -> None:
        said, self._due = self._due, Due()
        followed = self._following.rooms
        beats = self._loop.time() >= self._beat_at and bool(followed or self._announced)
        if not (beats or said.ask or said.drop or said.want or said.hello):
            return
        dropped = [room for room in said.drop if room not in followed]  # somebody may want to know again
        rooms = {"ask": said.ask, "drop": dropped, "want": list(followed) if said.want else ()}
        try:
            await self._publish(LOBBY, word_messages(self._id, self._part_bytes, hello=said.hello, **rooms))
        except BaseException:
            self._due.add(said)
            raise
        self._beat_at = self._loop.time() + BEAT_SECONDS * random.uniform(0.75, 1.25)

    async def _say_rolls(self) -> None:
        wanted = self._peers.wanted
        self._announced.intersection_update(wanted)
        due = [room for room in {**self._lists_due, **self._changes} if room in wanted]
        self._lists_due = {room: None for room in self._lists_due if room in wanted}
        self._changes = {room: changes for room, changes in self._changes.items() if room in wanted}
        for first in range(0, len(due), _ROOMS_AT_ONCE):
            outcomes = await asyncio.gather(*map(self._say_roll, due[first : first + _ROOMS_AT_ONCE]), return_exceptions=True)
            if failure := next(filter(None, outcomes), None):
                raise failure

    async def _say_roll(self, room: str) -> None:
        """The whole list, or only what has changed."""
        whole = room in self._lists_due
        changes, members = self._changes.pop(room, {}), self._here(room)
        self._lists_due.pop(room, None)
        came = members[:MEMBERS_KNOWN] if whole else [Arrival(present, 0.0) for present in changes.values() if present is not None]
        gone = () if whole else [identity for identity, present in changes.items() if present is None]
        if members:
            self._announced.add(room)  # before it is said: once it is on its way, good-bye has to be said too
        try:
            await self._publish(companion_of(room), roll_messages(self._id, self._part_bytes, len(members), came, gone, whole=whole))
        except BaseException:
            self._lists_due[room] = None
            raise
        if not members:
            self._announced.discard(room)

    async def _publish(self, room: str, payloads: list[bytes]) -> None:
        for payload in payloads:
            await self._broker.publish(room, payload)

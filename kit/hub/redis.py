"""redis:// and rediss://, a broker on Redis Streams: what was published while a hub was away is read when it is back."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from kit.hub.book import recovered
from kit.hub.broker import BrokerLimits, what_is_wrong, without_password
from kit.hub.errors import HubError, PublishFailed
from kit.hub.link import LinkedBroker, LinkLost
from kit.hub.message import Position, Stored
from kit.hub.redis_connection import RedisConnection
from kit.hub.redis_script import LOAD, call, state_of, stream_of
from kit.printable import quoted

__all__ = ["RedisBroker"]

MOST_AT_ONCE, BYTES_AT_ONCE, ROOMS_AT_ONCE = 256, 4 << 20, 64


class RedisBroker(LinkedBroker):
    """One server, not a cluster; Redis 6.2 or later, or what speaks its protocol, with scripts and streams.

    With ``appendonly yes`` and ``appendfsync always`` a restart of Redis loses nothing. With any other setting it may have forgotten messages
    that it had taken, and nobody could tell which: every restart begins new epochs, and every subscriber gets a `Gap`.
    A room's last 4,096 messages are kept, or the hub's ``history`` if that is more, and go a week after the last one. A user with an access
    list needs the channels ``kit:*`` as well as the keys.
    """

    service = "Redis"
    advice = "Check the address, the password and that Redis runs: `redis-cli -u URL ping`."

    def __init__(self, url: str, limits: BrokerLimits) -> None:
        super().__init__(url, limits)
        try:
            self._pool = ConnectionPool.from_url(url, protocol=2)
        except (ValueError, TypeError) as error:
            expected = 'this broker expects a URL such as "redis://localhost:6379/0"'
            raise HubError(f"{expected}, but got {quoted(without_password(url))}: {what_is_wrong(url, error)}.") from None
        if self._pool.connection_kwargs["protocol"] != 2:
            raise HubError(f"this broker speaks version 2 of the protocol only, so leave ?protocol= out of {quoted(without_password(url))}.")
        path = url.partition("://")[2].partition("?")[0].partition("/")[2]
        if path and not path.isdecimal():
            raise HubError(f'a Redis database is a number, as in "redis://localhost:6379/0", but got {quoted(path)}.')
        never = Retry(NoBackoff(), 0)
        self._pool.connection_kwargs.update(socket_timeout=None, retry=never, retry_on_error=[], decode_responses=False, health_check_interval=0)

    async def _connect(self) -> RedisLink:
        link = RedisLink(self, self._limits, *(RedisConnection(self._pool.make_connection()) for _ in range(2)))
        try:
            await link.begin()
        except BaseException:
            await link.close()
            raise
        return link


class RedisLink:
    """Two connections: one listens to the rooms' channels, the other writes and asks.

    What a channel tells is only a quick way to what comes next in a stream. Whatever does not come next, because it is long, something
    was missed, or the epoch is another one, is read from the stream.
    """

    def __init__(self, broker: RedisBroker, limits: BrokerLimits, listening: RedisConnection, writing: RedisConnection) -> None:
        self._broker = broker
        self._book = broker.book
        self._limits = limits
        self._listening, self._writing = listening, writing
        self._own = b"kit:beat:" + secrets.token_hex(8).encode()
        self._sha = b""
        self._mark = b""
        self._at_once = MOST_AT_ONCE
        self._joining: dict[bytes, asyncio.Future[Position]] = {}

    async def begin(self) -> None:
        """Connect, find out what this server remembers, listen, and find where the rooms are."""
        await self._listening.connect()
        await self._writing.connect()
        facts = b"\n".join(await self._writing.ask((b"INFO", b"server"), (b"INFO", b"persistence"))).decode()
        info = dict(line.split(":", 1) for line in facts.splitlines() if ":" in line)
        if info.get("loading", "0") != "0":  # and what it says of its append-only file is not true yet
            raise LinkLost("it has just started and still reads what it has on the disk")
        (fsync,) = await self._writing.ask((b"CONFIG", b"GET", b"appendfsync"), errors=True)  # not everybody may ask
        remembers = info.get("aof_enabled") == "1" and fsync == [b"appendfsync", b"always"]
        self._mark = b"aof" if remembers else info.get("run_id", "")[:12].encode()
        (self._sha,) = await self._writing.ask(LOAD)
        await self._listen_again()
        await self._find(list(self._book.places))

    async def read(self) -> None:
        """Bring what came while nobody listened, then what is told."""
        rooms = list(self._book.places)
        for first in range(0, len(rooms), ROOMS_AT_ONCE):
            while await self._bring(rooms[first : first + ROOMS_AT_ONCE]):
                self._broker.heard()
        while True:
            kind, channel, told = await self._listening.receive()
            if kind == b"message":
                await self._hear(channel, told)
            elif kind == b"subscribe":
                await self._begin_room(channel)

    async def publish(self, messages: list[tuple[str, bytes]]) -> list[Position | Exception]:
        """All in one go."""
        replies = await self._writing.ask(*(self._call(room, payload=payload) for room, payload in messages), errors=True)
        return [_outcome(room, reply) for (room, _), reply in zip(messages, replies, strict=True)]

    async def join(self, room: str) -> Position:
        """Listen; what reads finds the room's place then, before it reads on, so that whatever comes after that place is told."""
        channel = stream_of(room)
        self._joining[channel] = joining = asyncio.get_running_loop().create_future()
        await self._listening.send(b"SUBSCRIBE", channel)
        return await joining

    async def leave(self, room: str) -> None:
        """Listen to it no more."""
        await self._listening.send(b"UNSUBSCRIBE", stream_of(room))

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        """The place first, then what is up to there."""
        place = await self._place(room)
        if since.epoch != place.epoch or not 0 <= place.offset - since.offset <= self._limits.history:
            return None
        first = _id(Position(since.epoch, since.offset + 1))
        (entries,) = await self._writing.ask((b"XRANGE", stream_of(room), first, _id(place)))
        return recovered(since, place, [Stored(place.epoch, int(name.split(b"-")[1]), _payload(fields)) for name, fields in entries], self._limits)

    async def beat(self) -> None:
        """Tell oneself."""
        await self._writing.ask((b"PUBLISH", self._own, b""))

    def abort(self) -> None:
        """Nothing to do: what is cancelled here ends at once."""

    async def close(self) -> None:
        """Drop both connections."""
        await self._listening.close()
        await self._writing.close()

    # Helpers.

    async def _listen_again(self) -> None:
        """To oneself and to all rooms; what is told meanwhile is read from the streams afterwards."""
        channels = [self._own, *map(stream_of, self._book.places)]
        await self._listening.send(b"SUBSCRIBE", *channels)
        confirmed = 0
        while confirmed < len(channels):
            kind, _, _ = await self._listening.receive()
            confirmed += kind == b"subscribe"

    async def _begin_room(self, channel: bytes) -> None:
        joining = self._joining.pop(channel)
        try:
            place = await self._place(_room_of(channel))
        except HubError as error:
            joining.set_exception(error)
        else:
            self._book.begin(_room_of(channel), place)
            joining.set_result(place)

    async def _hear(self, channel: bytes, told: bytes) -> None:
        """Deliver what comes next in a room; look into the stream when it is something else."""
        if channel == self._own:
            self._broker.heard()
            return
        room = _room_of(channel)
        place = self._book.get(room)
        name, _, payload = told.partition(b" ")
        base, _, offset = name.partition(b"-")
        if place is None:  # somebody left meanwhile
            return
        if not offset.isdigit():
            self._book.poison(room, "something was told that no hub tells")
        elif base != _base(place) or int(offset) > place.offset + 1 or (int(offset) > place.offset and not payload):
            while await self._bring([room]):
                pass
        else:
            self._book.message(room, place.epoch, int(offset), payload)

    async def _bring(self, rooms: list[str]) -> bool:
        """Deliver what is new in these rooms' streams; True when there may be more."""
        places = {room: place for room in rooms if (place := self._book.get(room)) is not None}
        if not places:
            return False
        read = (b"XREAD", b"COUNT", self._at_once, b"STREAMS", *map(stream_of, places), *map(_id, places.values()))
        (reply,) = await self._writing.ask(read)
        found = {_room_of(stream): entries for stream, entries in reply or ()}
        sizes = [await self._take(room, entries) for room, entries in found.items()]
        more = any(len(entries) >= self._at_once or _has_more(self._book.get(room), entries) for room, entries in found.items())
        self._at_once = max(1, self._at_once // 4) if sum(sizes) > BYTES_AT_ONCE else min(2 * self._at_once, MOST_AT_ONCE)
        return more

    async def _take(self, room: str, entries: list[Any]) -> int:
        """Deliver what a stream has brought; returns its size."""
        size = 0
        for name, fields in entries:
            place = self._book.get(room)
            base, offset = name.split(b"-")
            if place is None:  # somebody left meanwhile
                break
            if base != _base(place):
                await self._move(room, place)
                break
            payload = _payload(fields)
            size += len(payload)
            self._book.message(room, place.epoch, int(offset), payload)
        return size

    async def _move(self, room: str, place: Position) -> None:
        """An entry of no known epoch: it is a new one, or somebody else's, which ends this epoch."""
        (epoch,) = await self._writing.ask((b"HGET", state_of(room), b"epoch"))
        if epoch == place.epoch.encode():
            self._book.poison(room, "an entry with an id that no hub writes")
        await self._find([room], spoiled=place.epoch)

    async def _find(self, rooms: list[str], spoiled: str = "") -> None:
        """Note where rooms are; what the server has forgotten of an epoch spoils it."""
        places = [_position(reply) for reply in await self._writing.ask(*(self._call(room, spoiled=spoiled) for room in rooms))]
        for room, place in zip(rooms, places, strict=True):
            if not self._book.found(room, place):
                await self._find([room], spoiled=place.epoch)

    async def _place(self, room: str) -> Position:
        (reply,) = await self._writing.ask(self._call(room))
        return _position(reply)

    def _call(self, room: str, *, spoiled: str = "", payload: bytes | None = None) -> tuple[Any, ...]:
        return call(self._sha, room, self._mark, self._limits, spoiled=spoiled, payload=payload)


def _has_more(place: Position | None, entries: list[Any]) -> bool:
    """Whether ``entries`` could not all be taken: the room has moved on to another epoch."""
    return place is not None and _id(place) != entries[-1][0]


def _room_of(stream: bytes) -> str:
    return stream.removeprefix(b"kit:stream:").decode()


def _base(place: Position) -> bytes:
    return place.epoch.partition(".")[0].encode()


def _id(place: Position) -> bytes:
    return b"%s-%d" % (_base(place), place.offset)


def _position(reply: list[bytes]) -> Position:
    return Position(reply[0].decode(), int(reply[1]))


def _outcome(room: str, reply: Any) -> Position | Exception:
    return PublishFailed(f"Redis refused the message: {str(reply).rstrip('.')}.", room=room) if isinstance(reply, Exception) else _position(reply)


def _payload(fields: list[bytes] | None) -> bytes:
    """An entry's payload; of an entry that no hub wrote, something that is no payload."""
    return dict(zip((fields or [])[::2], (fields or [])[1::2], strict=False)).get(b"p", b"")

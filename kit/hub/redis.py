"""redis:// and rediss://, a broker on Redis Streams: what was published while a hub was away is read when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

from kit.hub.book import kept, recovered
from kit.hub.broker import BrokerLimits, what_is_wrong, without_password
from kit.hub.errors import HubError, PublishFailed
from kit.hub.link import LinkedBroker, LinkLost
from kit.hub.message import Position, Stored
from kit.printable import quoted

__all__ = ["RedisBroker"]

ROOM_SECONDS, BEAT_KEY_SECONDS = 7 * 24 * 3600, 60
MOST_AT_ONCE, BYTES_AT_ONCE = 256, 4 << 20
NAMING_SECONDS = 20e-6  # several times what it takes to name one room to Redis

# A room is a hash with its epoch and last offset, and a stream whose ids are "<microsecond in which the epoch began>-<offset>": a new epoch's
# ids come after those of all epochs before, so that a reader that waits behind an old id sees it. The epoch ends with a mark of the server's
# memory; another mark, a missing stream, or being told that an epoch is spoiled, begins a new one. Without a payload it only looks.
SCRIPT = b"""
local state, stream = KEYS[1], KEYS[2]
local mark, kept, kept_bytes, seconds, spoiled, payload = unpack(ARGV)
for key, kind in pairs({[state] = 'hash', [stream] = 'stream'}) do
    local found = redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
local epoch, offset = unpack(redis.call('HMGET', state, 'epoch', 'offset'))
offset = tonumber(offset) or 0

local function begin()
    local now = redis.call('TIME')
    epoch, offset = string.format('%.0f', now[1] * 1000000 + now[2]) .. '.' .. mark, 0
    redis.call('DEL', state, stream)
    redis.call('HSET', state, 'epoch', epoch, 'offset', 0)
end

local refusal
local function add()
    offset = offset + 1
    local id = string.match(epoch, '^%d+') .. '-' .. string.format('%.0f', offset)
    local reply = redis.pcall('XADD', stream, 'MAXLEN', '~', kept, id, 'p', payload)
    refusal = type(reply) == 'table' and reply.err
    return not refusal
end

local function trim()  -- the newest half of what may be kept stays
    local size, from = 0, '+'
    repeat
        local entries = redis.call('XREVRANGE', stream, from, '-', 'COUNT', 8)
        for _, entry in ipairs(entries) do
            size = size + #(entry[2][2] or '')
            if size > kept_bytes / 2 then return redis.call('XTRIM', stream, 'MINID', entry[1]) end
            from = '(' .. entry[1]
        end
    until #entries == 0
end

if not epoch or epoch == spoiled or string.sub(epoch, -#mark) ~= mark or (offset > 0 and redis.call('EXISTS', stream) == 0) then begin() end
if payload then
    if not add() then
        if string.sub(refusal, 1, 4) ~= 'ERR ' then return redis.error_reply(refusal) end  -- such as OOM: it is not about this message
        -- somebody else has written here: go on after that, or begin anew if there is no number after it
        local top = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
        local base, number = string.match(top and top[1] or '', '^(%d+)-(%d+)$')
        if base == string.match(epoch, '^%d+') and tonumber(number) < 1e15 then offset = tonumber(number) else begin() end
        if not add() then return redis.error_reply(refusal) end
    end
    redis.call('HSET', state, 'offset', string.format('%.0f', offset))
    if redis.call('HINCRBY', state, 'bytes', #payload) > tonumber(kept_bytes) / 2 then
        trim()
        redis.call('HSET', state, 'bytes', 0)
    end
end
redis.call('EXPIRE', state, seconds)
redis.call('EXPIRE', stream, seconds)
return {epoch, string.format('%.0f', offset)}
"""
LOAD_SCRIPT = (b"SCRIPT", b"LOAD", SCRIPT)


class RedisBroker(LinkedBroker):
    """One server, not a cluster; Redis 6.2 or later, or what speaks its protocol, with scripts and streams.

    With ``appendonly yes`` and ``appendfsync always`` a restart of Redis loses nothing. With any other setting it may have forgotten messages
    that it had taken, and nobody could tell which: every restart begins new epochs, and every subscriber gets a `Gap`.
    A room's last 4,096 messages are kept, or the hub's ``history`` if that is more, and go a week after the last one.
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
        link = RedisLink(self, self._limits, self._pool.make_connection(), self._pool.make_connection())
        try:
            await link.begin()
        except BaseException:
            await link.close()
            raise
        return link


class RedisLink:
    """Two connections: one waits for what comes, the other writes and asks."""

    def __init__(self, broker: RedisBroker, limits: BrokerLimits, reading: Connection, writing: Connection) -> None:
        self._broker = broker
        self._book = broker.book
        self._limits = limits
        self._reading, self._writing = reading, writing
        self._own, self._own_id = b"kit:beat:" + secrets.token_hex(8).encode(), b"0-0"
        self._sha = b""
        self._mark = b""
        self._at_once = MOST_AT_ONCE
        self._woken = False

    async def begin(self) -> None:
        """Connect, find out what this server remembers, and where the rooms are."""
        await self._reading.connect()
        await self._writing.connect()
        facts = b"\n".join(await self._ask(self._writing, (b"INFO", b"server"), (b"INFO", b"persistence"))).decode()
        info = dict(line.split(":", 1) for line in facts.splitlines() if ":" in line)
        if info.get("loading", "0") != "0":  # and what it says of its append-only file is not true yet
            raise LinkLost("it has just started and still reads what it has on the disk")
        (fsync,) = await self._ask(self._writing, (b"CONFIG", b"GET", b"appendfsync"), errors=True)  # not everybody may ask
        remembers = info.get("aof_enabled") == "1" and fsync == [b"appendfsync", b"always"]
        self._mark = b"aof" if remembers else info.get("run_id", "")[:12].encode()
        (self._sha,) = await self._ask(self._writing, LOAD_SCRIPT)
        await self._find(self._writing, list(self._book.places))

    async def read(self) -> None:
        """Wait for all rooms' streams and the one with the own beats."""
        while True:
            self._woken = False
            streams = {_stream(room): _id(place) for room, place in self._book.places.items()} | {self._own: self._own_id}
            (reply,) = await self._ask(self._reading, (b"XREAD", b"COUNT", self._at_once, b"BLOCK", 0, b"STREAMS", *streams, *streams.values()))
            size = 0
            for stream, entries in reply or ():
                size += await self._take(stream, entries)
            self._at_once = max(1, self._at_once // 4) if size > BYTES_AT_ONCE else min(2 * self._at_once, MOST_AT_ONCE)
            if self._woken:  # let others join meanwhile: thousands of rooms would else be named again for each one more
                await asyncio.sleep(len(streams) * NAMING_SECONDS)

    async def publish(self, messages: list[tuple[str, bytes]]) -> list[Position | Exception]:
        """All in one go."""
        replies = await self._ask(self._writing, *(self._call(room, payload=payload) for room, payload in messages), errors=True)
        return [_outcome(room, reply) for (room, _), reply in zip(messages, replies, strict=True)]

    async def join(self, room: str) -> Position:
        """Find the room's place, then wake the reader, so that it waits for this stream too."""
        place = await self._place(room)
        self._book.begin(room, place)
        if not self._woken:  # several that join together wake it once
            self._woken = True
            await self.beat()
        return place

    async def leave(self, room: str) -> None:
        """Nothing to do: the reader asks for its rooms each time."""

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        """The place first, then what is up to there."""
        place = await self._place(room)
        if since.epoch != place.epoch or not 0 <= place.offset - since.offset <= self._limits.history:
            return None
        first = _id(Position(since.epoch, since.offset + 1))
        (entries,) = await self._ask(self._writing, (b"XRANGE", _stream(room), first, _id(place)))
        return recovered(since, place, [Stored(place.epoch, int(name.split(b"-")[1]), _payload(fields)) for name, fields in entries], self._limits)

    async def beat(self) -> None:
        """Add to the own stream."""
        added, expires = (b"XADD", self._own, b"MAXLEN", 1, b"*", b"beat", b""), (b"EXPIRE", self._own, BEAT_KEY_SECONDS)
        await self._ask(self._writing, added, expires)

    def abort(self) -> None:
        """Nothing to do: what is cancelled here ends at once."""

    async def close(self) -> None:
        """Drop both connections."""
        for connection in (self._reading, self._writing):
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    # Helpers.

    async def _take(self, stream: bytes, entries: list[Any]) -> int:
        """Deliver what a stream has brought; returns its size."""
        if stream == self._own:
            self._own_id = entries[-1][0]
            self._broker.heard()
            return 0
        room = stream.removeprefix(b"kit:stream:").decode()
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
        (epoch,) = await self._ask(self._reading, (b"HGET", _state(room), b"epoch"))
        if epoch == place.epoch.encode():
            self._book.poison(room, "an entry with an id that no hub writes")
        await self._find(self._reading, [room], spoiled=place.epoch)

    async def _find(self, connection: Connection, rooms: list[str], spoiled: str = "") -> None:
        """Note where rooms are; what the server has forgotten of an epoch spoils it."""
        places = [_position(reply) for reply in await self._ask(connection, *(self._call(room, spoiled=spoiled) for room in rooms))]
        for room, place in zip(rooms, places, strict=True):
            if not self._book.found(room, place):
                await self._find(connection, [room], spoiled=place.epoch)

    async def _place(self, room: str) -> Position:
        (reply,) = await self._ask(self._writing, self._call(room))
        return _position(reply)

    def _call(self, room: str, *, spoiled: str = "", payload: bytes | None = None) -> tuple[Any, ...]:
        more = () if payload is None else (payload,)
        return (b"EVALSHA", self._sha, 2, _state(room), _stream(room), self._mark, *kept(self._limits), ROOM_SECONDS, spoiled, *more)

    async def _ask(self, connection: Connection, *commands: tuple[Any, ...], errors: bool = False) -> list[Any]:
        """Send commands together; their replies, with ``errors`` among them, or else raised."""
        if not commands:
            return []
        replies = await self._exchange(connection, commands)
        unknown = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:  # somebody has flushed the scripts, so that these did nothing
            _, *again = await self._exchange(connection, (LOAD_SCRIPT, *(commands[number] for number in unknown)))
            for number, reply in zip(unknown, again, strict=True):
                replies[number] = reply
        refused = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
        if refused is not None and not errors:
            raise LinkLost(f"it refused: {refused}")
        return replies

    async def _exchange(self, connection: Connection, commands: tuple[tuple[Any, ...], ...]) -> list[Any]:
        if not connection.is_connected:  # redis-py would connect again, perhaps to a server with another memory
            raise LinkLost("the connection is closed")
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies


def _state(room: str) -> bytes:
    return b"kit:room:" + room.encode()


def _stream(room: str) -> bytes:
    return b"kit:stream:" + room.encode()


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

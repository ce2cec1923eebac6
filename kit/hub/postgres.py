"""postgresql://, a broker on two tables and NOTIFY: for whoever runs PostgreSQL already and publishes some thousand messages a second."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from kit.hub.book import kept, recovered
from kit.hub.broker import BrokerLimits, what_is_wrong, without_password
from kit.hub.errors import HubError, PublishFailed
from kit.hub.link import LinkedBroker
from kit.hub.message import Position, Stored
from kit.printable import quoted

__all__ = ["PostgresBroker"]

CHANNEL = "kit_hub"
MOST_AT_ONCE, BYTES_AT_ONCE, TRIM_EVERY = 256, 4 << 20, 256

# The numbers of a room are given out under its row's lock, and so in the order in which they are committed: who has read up to one has read all before it.
TABLES = """
CREATE TABLE IF NOT EXISTS kit_hub_rooms (
    room text PRIMARY KEY, epoch text NOT NULL, last bigint NOT NULL, used timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS kit_hub_messages (room text NOT NULL, id bigint NOT NULL, payload bytea NOT NULL, PRIMARY KEY (room, id));
"""
# An epoch ends with the number of the server's timeline: a standby that took over, or a restored backup, begins new ones.
PLACE = """
INSERT INTO kit_hub_rooms AS here (room, epoch, last) VALUES (%(room)s, %(epoch)s, %(count)s)
ON CONFLICT (room) DO UPDATE SET
    epoch = CASE WHEN {same} THEN here.epoch ELSE excluded.epoch END,
    last = CASE WHEN {same} THEN here.last ELSE 0 END + excluded.last,
    used = now()
RETURNING epoch, last
""".format(same="(right(here.epoch, 8) = right(excluded.epoch, 8) AND here.epoch <> %(spoiled)s)")
PUBLISH = f"""
WITH place AS ({PLACE}), written AS (
    INSERT INTO kit_hub_messages (room, id, payload)
    SELECT %(room)s, place.last - %(count)s + each.number, each.payload
    FROM place, unnest(%(payloads)s::bytea[]) WITH ORDINALITY AS each (payload, number)
    ON CONFLICT (room, id) DO UPDATE SET payload = excluded.payload
)
SELECT epoch, last, pg_notify('{CHANNEL}', last || ' ' || %(room)s) FROM place
"""
READ = """
SELECT place.epoch, place.last, message.id, message.payload FROM kit_hub_rooms AS place
LEFT JOIN kit_hub_messages AS message ON message.room = place.room AND message.id > %(after)s AND message.id <= place.last
WHERE place.room = %(room)s ORDER BY message.id LIMIT %(most)s
"""
TRIM = """
DELETE FROM kit_hub_messages WHERE room = %(room)s AND id <= (
    SELECT max(id) FROM (
        SELECT id, row_number() OVER newest AS number, sum(octet_length(payload)) OVER newest AS size
        FROM kit_hub_messages WHERE room = %(room)s WINDOW newest AS (ORDER BY id DESC)
    ) AS messages WHERE number > %(kept)s OR size > %(kept_bytes)s
)
"""
FORGET = """
WITH old AS (DELETE FROM kit_hub_rooms WHERE used < now() - interval '7 days' RETURNING room)
DELETE FROM kit_hub_messages USING old WHERE kit_hub_messages.room = old.room
"""


class PostgresBroker(LinkedBroker):
    """One database; needs a connection of its own for LISTEN, so no pooler that shares connections between transactions.

    The tables ``kit_hub_rooms`` and ``kit_hub_messages`` are made when they are not there. A room's last 4,096 messages are kept,
    or the hub's ``history`` if that is more; rooms that were not used for a week go when a hub connects.
    """

    service = "PostgreSQL"
    advice = "Check the address, the user, the password and that PostgreSQL runs: `psql URL -c 'select 1'`."

    def __init__(self, url: str, limits: BrokerLimits) -> None:
        super().__init__(url, limits)
        try:
            parameters = conninfo_to_dict(url)
            int(parameters.get("port") or 0)
            if "@" in str(parameters.get("host")):
                raise ValueError("a host has no @")
        except (psycopg.Error, ValueError) as error:
            expected = 'this broker expects a URL such as "postgresql://user@localhost/database"'
            raise HubError(f"{expected}, but got {quoted(without_password(url))}: {what_is_wrong(url, error)}.") from None

    async def _connect(self) -> PostgresLink:
        link = PostgresLink(self, self._limits)
        try:
            await link.begin(self._url)
        except BaseException:
            await link.close()
            raise
        return link


class PostgresLink:
    """Two connections: one listens, and reads what it hears of; the other writes and asks."""

    def __init__(self, broker: PostgresBroker, limits: BrokerLimits) -> None:
        self._broker = broker
        self._book = broker.book
        self._limits = limits
        self._connections: list[psycopg.AsyncConnection[Any]] = []
        self._own = f"beat {secrets.token_hex(8)}"
        self._timeline = ""
        self._at_once = MOST_AT_ONCE

    async def begin(self, url: str) -> None:
        """Connect, see that the tables are there, and listen; the first beat finds out where the rooms are."""
        for _ in range(2):
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=tuple_row, client_encoding="utf8")
            self._connections.append(connection)
        self._listening, self._writing = self._connections
        await self._make_tables()
        ((self._timeline,),) = await self._ask("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")
        await self._writing.execute(FORGET)
        await self._listening.execute(f"LISTEN {CHANNEL}")

    async def read(self) -> None:
        """Wait for notifications; those that come while a room is read wait inside psycopg."""
        while True:
            due: dict[str, None] = {}
            async for notification in self._listening.notifies(stop_after=1):
                due |= dict.fromkeys(self._meant(notification.payload))
            if self._own in due:
                due = dict.fromkeys(await self._changed())
            for room in due:
                while await self._bring(room):
                    pass

    async def publish(self, messages: list[tuple[str, bytes]]) -> list[Position | Exception]:
        """Each room's messages in one transaction."""
        outcomes: dict[int, Position | Exception] = {}
        rooms: dict[str, list[int]] = {}
        for number, (room, _) in enumerate(messages):
            rooms.setdefault(room, []).append(number)
        for room, numbers in rooms.items():
            outcomes |= zip(numbers, await self._publish(room, [messages[number][1] for number in numbers]), strict=True)
        return [outcomes[number] for number in range(len(messages))]

    async def join(self, room: str) -> Position:
        """From the room's place on; a message that is committed later has a greater number."""
        place = await self._place(self._writing, room)
        self._book.begin(room, place)
        return place

    async def leave(self, room: str) -> None:
        """Nothing to do: notifications of other rooms are passed over."""

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        """In one look, so that nothing is trimmed meanwhile."""
        rows = await self._rows(self._writing, room, since.offset, self._limits.history + 1)
        if not rows:
            return None
        place = Position(*rows[0][:2])
        return recovered(since, place, [Stored(place.epoch, *row[2:]) for row in rows if row[2] is not None], self._limits)

    async def beat(self) -> None:
        """Notify oneself."""
        await self._writing.execute("SELECT pg_notify(%s, %s)", (CHANNEL, self._own))

    def abort(self) -> None:
        """Cut the sockets: psycopg would otherwise ask a frozen server to cancel, and wait for it."""
        for connection in self._connections:
            with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Drop both connections."""
        for connection in self._connections:
            await connection.close()

    # Helpers.

    async def _make_tables(self) -> None:
        """Only when they are missing: who may use them need not be allowed to make them."""
        async with self._writing.transaction():
            await self._writing.execute("SELECT pg_advisory_xact_lock(hashtext('kit_hub'))")  # two that make a table at once disturb each other
            ((missing,),) = await self._ask("SELECT to_regclass('kit_hub_rooms') IS NULL OR to_regclass('kit_hub_messages') IS NULL")
            if missing:
                await self._writing.execute(TABLES)

    def _meant(self, payload: str) -> Iterable[str]:
        """The room to look at because of a notification; an own beat stands for all."""
        number, _, room = payload.partition(" ")
        if payload == self._own:
            self._broker.heard()
            return [payload]
        if number.isdecimal():
            return [] if self._book.get(room) is None else [room]
        if number != "beat":
            self._book.poison(None, f"the notification {quoted(payload)} is no hub's")
        return []

    async def _changed(self) -> list[str]:
        """The rooms that are not where they were read up to: after a reconnect, or when something was changed by hand."""
        places = self._book.places
        cursor = await self._listening.execute("SELECT room, epoch, last FROM kit_hub_rooms WHERE room = ANY(%s)", (list(places),))
        found = {room: Position(epoch, last) for room, epoch, last in await cursor.fetchall()}
        return [room for room, place in places.items() if found.get(room) != place]

    async def _bring(self, room: str) -> bool:
        """Deliver what is new in a room; True when there may be more."""
        place = self._book.get(room)
        if place is None:
            return False
        rows = await self._rows(self._listening, room, place.offset, self._at_once)
        if not rows or rows[0][0] != place.epoch or rows[0][1] < place.offset:
            await self._find(room)
            return True
        new = [row for row in rows if row[2] is not None]
        for epoch, _, number, payload in new:
            self._book.message(room, epoch, number, payload)
        size = sum(len(row[3]) for row in new)
        self._at_once = max(1, self._at_once // 4) if size > BYTES_AT_ONCE else min(2 * self._at_once, MOST_AT_ONCE)
        return bool(new) and new[-1][2] < rows[0][1]

    async def _find(self, room: str) -> None:
        """Note where a room is; what the server has forgotten of an epoch spoils it."""
        place = await self._place(self._listening, room)
        while not self._book.found(room, place):
            place = await self._place(self._listening, room, spoiled=place.epoch)

    async def _place(self, connection: psycopg.AsyncConnection[Any], room: str, *, spoiled: str = "") -> Position:
        cursor = await connection.execute(PLACE, {"room": room, "epoch": self._new_epoch(), "count": 0, "spoiled": spoiled})
        return Position(*await cursor.fetchone())

    async def _publish(self, room: str, payloads: list[bytes]) -> list[Position] | list[Exception]:
        size = sum(map(len, payloads))
        values = {"room": room, "epoch": self._new_epoch(), "count": len(payloads), "spoiled": "", "payloads": payloads}
        try:
            ((epoch, last, _),) = await self._ask(PUBLISH, values)
        except psycopg.Error as error:
            if self._writing.broken:
                raise
            return [PublishFailed(f"PostgreSQL refused the message: {str(error).strip()}.", room=room)] * len(payloads)
        if last % TRIM_EVERY < len(payloads) or size > BYTES_AT_ONCE // 16:
            await self._trim(room)
        return [Position(epoch, last - len(payloads) + number) for number in range(1, len(payloads) + 1)]

    async def _trim(self, room: str) -> None:
        """The message is there, whatever becomes of this; the next one that is due to trim tries again."""
        messages, size_bytes = kept(self._limits)
        try:
            await self._writing.execute(TRIM, {"room": room, "kept": messages, "kept_bytes": size_bytes})
        except psycopg.Error:
            if self._writing.broken:
                raise

    async def _rows(self, connection: psycopg.AsyncConnection[Any], room: str, after: int, most: int) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(READ, {"room": room, "after": after, "most": most}, binary=True)
        return await cursor.fetchall()

    async def _ask(self, statement: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return await (await self._writing.execute(statement, values)).fetchall()

    def _new_epoch(self) -> str:
        return f"{secrets.token_hex(4)}.{self._timeline}"

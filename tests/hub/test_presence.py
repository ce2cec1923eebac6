"""Who is in a room, in all processes that share a broker: `Hub.present` and the notices, over every broker that several hubs can share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kit import Server, connect, serve
from kit.hub import Hub, Joined, Left, Present, attendance, questions
from kit.hub.message import encode
from kit.hub.roll_call import LOBBY, companion_of
from tests.hub.attending import SECONDS, acquainted, everywhere, joined, names_in, notices, over
from tests.hub.conftest import Place
from tests.hub.rooms_app import joining_app

Eventually = Callable[..., Any]


@everywhere
async def test_who_joins_and_leaves_elsewhere_is_seen_at_once_with_name_and_metadata(hub: Hub, there: Server, room: str) -> None:
    async with hub.subscribe(room, presence=True) as subscriber:
        async with await joined(there, room, "Ana"):
            (came,) = await notices(subscriber, 1)
            assert await hub.present(room) == [Present(came.id, "Ana", {})]
        (left,) = await notices(subscriber, 1)
    assert (came, left) == (Joined(room, came.id, "Ana", {}), Left(room, came.id, "Ana", {}))
    assert await hub.present(room) == []


@everywhere
async def test_a_hub_that_comes_late_sees_everybody_with_its_first_question(
    hub: Hub, elsewhere: Hub, there: Server, place_of_broker: Place, room: str, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """The others have a moment to be heard, which is over here when they have been."""
    async with await joined(there, room, "Ana"), await joined(there, room, "Ana"), await joined(there, room, "Ben"):
        await acquainted(hub)
        assert await names_in(hub, room) == await names_in(elsewhere, room) == ["Ana", "Ana", "Ben"]
        async with Hub(place_of_broker.url) as late:
            monkeypatch.setattr(questions, "ANSWER_SECONDS", 60.0)
            asking = asyncio.create_task(names_in(late, room))
            await eventually(lambda: len(late._rooms._attendance._peers.known) == 2)
            assert not asking.done()
            late._rooms._attendance._questions._had_time()
            assert await asking == ["Ana", "Ana", "Ben"]
            assert len({present.id for present in await late.present(room)}) == 3


@everywhere
async def test_who_was_there_before_is_no_news_and_who_comes_to_others_is(hub: Hub, elsewhere: Hub, there: Server, room: str) -> None:
    async with await joined(there, room, "Ana"):
        await acquainted(hub)
        for member in elsewhere._rooms.get(room)._members.values():
            member.entered_at -= 60.0  # who came only a moment before may be news
        async with hub.subscribe(room, presence=True) as subscriber, await joined(there, room, "Ben"):
            assert [(type(each), each.name) for each in await notices(subscriber, 1)] == [(Joined, "Ben")]
            assert await names_in(hub, room) == ["Ana", "Ben"]
            assert subscriber.waiting == 0


@everywhere
async def test_members_with_presence_are_told_of_those_in_other_hubs(hub: Hub, there: Server, room: str) -> None:
    async with serve(joining_app(hub, opens_hub=False), port=0) as here, connect(here, f"/join/{room}?name=Ana&envelope=1&presence=1") as ana:
        assert await ana.receive_text(timeout=SECONDS) == "ready"
        async with await joined(there, room, "Ben"):
            came = await ana.receive_json(timeout=SECONDS)
        left = await ana.receive_json(timeout=SECONDS)
    assert (came["type"], left["type"], came["name"], left["id"]) == ("joined", "left", "Ben", came["id"])


@everywhere
async def test_where_nobody_asks_nothing_is_said_but_one_greeting(hub: Hub, elsewhere: Hub, there: Server, room: str, eventually: Eventually) -> None:
    before = (await elsewhere._broker.join(LOBBY)).offset
    async with await joined(there, room), await joined(there, room):
        await eventually(lambda: elsewhere._rooms._attendance._in_lobby)
        for _ in range(3):
            async with await joined(there, room):
                await elsewhere.publish(room, "hello")
        assert (await elsewhere._broker.join(companion_of(room))).offset == 0
        assert (await elsewhere._broker.join(LOBBY)).offset - before <= 1


@everywhere
async def test_the_room_s_own_messages_and_offsets_do_not_know_of_it(hub: Hub, elsewhere: Hub, there: Server, room: str) -> None:
    async with hub.subscribe(room, presence=True) as subscriber:
        first = await elsewhere.publish(room, "first")
        assert (await subscriber.get(timeout=SECONDS)).data == "first"
        for _ in range(3):
            async with await joined(there, room):
                await notices(subscriber, 1)
            await notices(subscriber, 1)
        last = await elsewhere.publish(room, "last")
        assert last == (first.epoch, first.offset + 1)
        assert (await subscriber.get(timeout=SECONDS)).data == "last"
        async with hub.subscribe(room, since=first) as again:
            assert (again.recovered, again.missed) == (True, 1)
    assert hub.statistics().received == 2
    assert elsewhere.statistics().published == 2


@everywhere
async def test_closing_a_hub_takes_its_members_out_at_once(hub: Hub, elsewhere: Hub, there: Server, room: str) -> None:
    async with hub.subscribe(room, presence=True) as subscriber, await joined(there, room, "Ana"):
        await notices(subscriber, 1)
        await elsewhere.close()
        assert [type(each) for each in await notices(subscriber, 1, timeout=attendance.SILENT_SECONDS / 2)] == [Left]
        assert await hub.present(room) == []


@everywhere
async def test_a_room_that_nobody_asks_for_any_more_is_no_longer_announced(
    hub: Hub, elsewhere: Hub, there: Server, room: str, quick: Callable[[], None], monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(attendance, "KEPT_SECONDS", 0.5)
    async with await joined(there, room, "Ana"):
        await acquainted(hub)
        assert await names_in(hub, room) == ["Ana"]
        await eventually(lambda: room not in elsewhere._rooms._attendance._peers.wanted)
        assert hub.statistics().rooms == ()
        assert await names_in(hub, room) == ["Ana"]


@everywhere
async def test_statistics_count_members_elsewhere_once_somebody_asks(hub: Hub, elsewhere: Hub, there: Server, room: str) -> None:
    async with await joined(there, room, "Ana"), hub.subscribe(room):
        assert [(each.members, each.elsewhere) for each in hub.statistics().rooms] == [(0, None)]
        await acquainted(hub)
        await hub.present(room)
        assert [(each.members, each.elsewhere, [one.name for one in each.others]) for each in hub.statistics().rooms] == [(0, 1, ["Ana"])]
        assert [(each.members, each.elsewhere) for each in elsewhere.statistics().rooms] == [(1, None)]
    assert [(each.name, each.members, each.subscribers) for each in hub.statistics().rooms] in ([], [(room, 0, 0)])


@over("local")
async def test_five_hundred_members_are_all_known_and_all_leave(hub: Hub, elsewhere: Hub, there: Server, room: str) -> None:
    clients = [client for _ in range(10) for client in await asyncio.gather(*(joined(there, room) for _ in range(50)))]
    await acquainted(hub)
    async with hub.subscribe(room, presence=True) as subscriber:
        assert len({present.id for present in await hub.present(room)}) == 500
        await elsewhere.close()
        left: set[str] = set()
        while len(left) < 500:
            (each,) = await notices(subscriber, 1)
            if not isinstance(each, Joined):  # one that came when the subscriber did
                assert type(each) is Left
                left.add(each.id)
        assert await hub.present(room) == []
    await asyncio.gather(*(client.close() for client in clients))


@everywhere
async def test_what_no_hub_wrote_is_counted_and_skipped(hub: Hub, elsewhere: Hub, there: Server, room: str, eventually: Eventually) -> None:
    foreign = [
        {"hub": 7},
        {"hub": "x", "ask": [1]},
        {"surprise": 1},
        [1],
        "text",
        {"hub": "x", "came": [["id", "name", [], 0]]},
        {"hub": "x", "part": 3, "parts": 2},
    ]
    async with await joined(there, room, "Ana"), hub.subscribe(room):
        await acquainted(hub)
        assert await names_in(hub, room) == ["Ana"]
        for each in foreign:
            await elsewhere._broker.publish(companion_of(room), encode(each, 1000))
        await elsewhere._broker.publish(LOBBY, b"\xff")
        await eventually(lambda: hub.statistics().poison == len(foreign) + 1)
        assert await names_in(hub, room) == ["Ana"]

"""Who is in a room, in all processes that share a broker: `Hub.present` and the notices, over every broker that several hubs can share."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kit import Client, Server, connect, serve
from kit.hub import Gap, Hub, HubError, Joined, Left, Present, Subscriber, attendance, link
from kit.hub import peers as peers_module
from kit.hub.message import check_room, encode
from kit.hub.peers import Peers
from kit.hub.presence import METADATA_BYTES, Arrival
from kit.hub.roll_call import LEAST_BYTES, LOBBY, companion_of, read_roll, read_word, roll_messages, word_messages
from tests.hub.another_process import another_process
from tests.hub.conftest import PLACES, Place, running
from tests.hub.rooms_app import joining_app
from tests.hub.services import Postgres, Redis, Service

Eventually = Callable[..., Any]

SECONDS = 10.0
SERVED = {"redis", "postgres"}
BETWEEN_PROCESSES = [pytest.param(name, marks=pytest.mark.broker if name in SERVED else ()) for name in PLACES if name not in ("memory", "distant")]


def over(*places: Any) -> pytest.MarkDecorator:
    """Run a test over these brokers."""
    return pytest.mark.parametrize("place_of_broker", places, indirect=True)


everywhere = over(*BETWEEN_PROCESSES)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come often, and silence is soon noticed."""
    monkeypatch.setattr(attendance, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(attendance, "SILENT_SECONDS", 1.5)


@pytest.fixture
async def there(elsewhere: Hub) -> AsyncIterator[Server]:
    """A server whose WebSockets join ``elsewhere``."""
    async with serve(joining_app(elsewhere, opens_hub=False), port=0) as server:
        yield server


async def joined(server: Server | str, room: str, name: str = "") -> Client:
    path = f"/join/{room}?name={name}"
    client = await (connect(f"{server}{path}") if isinstance(server, str) else connect(server, path))
    assert await client.receive_text(timeout=SECONDS) == "ready"
    return client


async def names_in(hub: Hub, room: str) -> list[str]:
    return [present.name for present in await hub.present(room)]


async def until_present(hub: Hub, room: str, names: list[str], within_seconds: float = SECONDS) -> float:
    """Wait until exactly these are in the room, in any order; how long it took."""
    began = time.monotonic()
    while sorted(found := await names_in(hub, room)) != sorted(names):
        assert time.monotonic() - began < within_seconds, f"{found}, but not {names}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def notices(subscriber: Subscriber, count: int, timeout: float = SECONDS) -> list[Any]:
    return [await subscriber.get(timeout=timeout) for _ in range(count)]


# Two hubs.


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
async def test_a_hub_that_comes_late_sees_everybody_with_its_first_question(hub: Hub, elsewhere: Hub, there: Server, place_of_broker: Place, room: str) -> None:
    async with await joined(there, room, "Ana"), await joined(there, room, "Ana"), await joined(there, room, "Ben"):
        assert await names_in(hub, room) == await names_in(elsewhere, room) == ["Ana", "Ana", "Ben"]
        async with Hub(place_of_broker.url) as late:
            assert await names_in(late, room) == ["Ana", "Ana", "Ben"]
            assert len({present.id for present in await late.present(room)}) == 3


@everywhere
async def test_who_was_there_before_is_no_news_and_who_comes_to_others_is(hub: Hub, elsewhere: Hub, there: Server, room: str) -> None:
    async with await joined(there, room, "Ana"):
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
        assert [type(each) for each in await notices(subscriber, 1, timeout=attendance.BEAT_SECONDS / 2)] == [Left]
        assert await hub.present(room) == []


@everywhere
async def test_a_room_that_nobody_asks_for_any_more_is_no_longer_announced(
    hub: Hub, elsewhere: Hub, there: Server, room: str, quick: None, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(attendance, "KEPT_SECONDS", 0.5)
    async with await joined(there, room, "Ana"):
        assert await names_in(hub, room) == ["Ana"]
        await eventually(lambda: room not in elsewhere._rooms._attendance._peers.wanted)
        assert hub.statistics().rooms == ()
        assert await names_in(hub, room) == ["Ana"]


@everywhere
async def test_statistics_count_members_elsewhere_once_somebody_asks(hub: Hub, elsewhere: Hub, there: Server, room: str) -> None:
    async with await joined(there, room, "Ana"), hub.subscribe(room):
        assert [(each.members, each.elsewhere) for each in hub.statistics().rooms] == [(0, None)]
        await hub.present(room)
        assert [(each.members, each.elsewhere, [one.name for one in each.others]) for each in hub.statistics().rooms] == [(0, 1, ["Ana"])]
        assert [(each.members, each.elsewhere) for each in elsewhere.statistics().rooms] == [(1, None)]
    assert [(each.name, each.members, each.subscribers) for each in hub.statistics().rooms] in ([], [(room, 0, 0)])


@over("local")
async def test_five_hundred_members_are_all_known_and_all_leave(hub: Hub, elsewhere: Hub, there: Server, room: str) -> None:
    clients = [client for _ in range(10) for client in await asyncio.gather(*(joined(there, room) for _ in range(50)))]
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


def peopled(hub: Hub, rooms: int) -> list[str]:
    """As if a WebSocket had joined each of so many rooms."""
    names = [f"room {number}" for number in range(rooms)]
    everybody = {name: [Arrival(Present(name, "Ana", {}), 100.0)] for name in names}
    attending = hub._rooms._attendance
    attending._here = lambda room: everybody.get(room, [])
    for name in names:
        attending.came(name, everybody[name][0].present)
    return names


@over("local")
async def test_who_asks_for_more_rooms_at_once_than_can_be_answered_waits_longer_and_misses_nobody(
    hub: Hub, elsewhere: Hub, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(attendance, "ANSWER_SECONDS", 1.0)  # the machine may be busy
    names = peopled(elsewhere, 1200)
    await eventually(lambda: elsewhere._rooms._attendance._in_lobby)
    found = await asyncio.gather(*map(hub.present, names))
    assert [[present.id for present in each] for each in found] == [[name] for name in names]


@over("distant")
async def test_a_question_that_could_not_be_asked_is_no_empty_room(hub: Hub, room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "ANSWER_SECONDS", 0.1)
    hub._rooms.state("reconnecting", "the broker is away")
    with pytest.raises(HubError, match=r"could not be asked within 0.5 s: the broker cannot be reached"):
        await hub.present(room)
    hub._rooms.state("connected", "")
    assert await hub.present(room) == []


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
    async with await joined(there, room, "Ana"), hub.subscribe(room, presence=True):
        assert await names_in(hub, room) == ["Ana"]
        for each in foreign:
            await elsewhere._broker.publish(companion_of(room), encode(each, 1000))
        await elsewhere._broker.publish(LOBBY, b"\xff")
        await eventually(lambda: hub.statistics().poison == len(foreign) + 1)
        assert await names_in(hub, room) == ["Ana"]


async def test_a_hub_with_a_memory_of_its_own_answers_at_once() -> None:
    async with Hub() as hub, serve(joining_app(hub, opens_hub=False), port=0) as server, await joined(server, "room", "Ana"):
        with pytest.raises(StopIteration) as answer:
            hub.present("room").send(None)  # one step, in which nobody else is asked
        assert [present.name for present in answer.value.value] == ["Ana"]
        assert hub.statistics().rooms[0].elsewhere == 0


def test_no_reader_s_room_can_meet_those_of_presence() -> None:
    for name in (LOBBY, companion_of("room")):
        with pytest.raises(ValueError, match="no control characters"):
            check_room(name)


# Processes that die, hang and come back.


@everywhere
async def test_who_was_in_a_process_that_is_killed_leaves_within_the_stated_time(hub: Hub, place_of_broker: Place, room: str, quick: None) -> None:
    """On local:// the hub of this test was there first, and serves the rooms."""
    async with another_process(place_of_broker.url) as other, hub.subscribe(room, presence=True) as subscriber, contextlib.AsyncExitStack() as clients:
        for name in ("Ana", "Ben"):
            clients.push_async_exit(await joined(other.address, room, name))
        assert [each.name for each in await notices(subscriber, 2)] == ["Ana", "Ben"]
        other.signal(signal.SIGKILL)
        left = await notices(subscriber, 2, timeout=SECONDS + attendance.SILENT_SECONDS)
    assert [(type(each), each.name) for each in left] == [(Left, "Ana"), (Left, "Ben")]
    assert await hub.present(room) == []


@over("local")
async def test_one_late_beat_changes_nothing_and_a_process_that_was_given_up_comes_back(hub: Hub, place_of_broker: Place, room: str, quick: None) -> None:
    async with another_process(place_of_broker.url) as other, hub.subscribe(room, presence=True) as subscriber, await joined(other.address, room, "Ana"):
        (came,) = await notices(subscriber, 1)
        other.signal(signal.SIGSTOP)
        await asyncio.sleep(attendance.SILENT_SECONDS / 2)
        other.signal(signal.SIGCONT)
        await asyncio.sleep(attendance.SILENT_SECONDS)
        assert subscriber.waiting == 0
        other.signal(signal.SIGSTOP)
        (left,) = await notices(subscriber, 1)
        other.signal(signal.SIGCONT)
        (back,) = await notices(subscriber, 1)
    assert (type(left), type(back), back.id) == (Left, Joined, came.id)


@over("local")
async def test_a_hub_whose_own_loop_was_blocked_takes_nobody_for_dead(hub: Hub, place_of_broker: Place, room: str, quick: None) -> None:
    async with (
        Hub(place_of_broker.url) as other,
        serve(joining_app(other, opens_hub=False), port=0) as server,
        hub.subscribe(room, presence=True) as subscriber,
        await joined(server, room, "Ana"),
    ):
        await notices(subscriber, 1)
        time.sleep(attendance.SILENT_SECONDS + 0.5)  # noqa: ASYNC251, this is what is tested
        await asyncio.sleep(4 * attendance.BEAT_SECONDS)
        assert subscriber.waiting == 0
        assert await names_in(hub, room) == ["Ana"]


@over("local")
async def test_when_the_process_that_serves_a_local_broker_is_killed_only_its_own_members_leave(place_of_broker: Place, room: str, quick: None) -> None:
    async with (
        another_process(place_of_broker.url) as serving,
        Hub(place_of_broker.url) as hub,
        another_process(place_of_broker.url) as other,
        hub.subscribe(room, presence=True) as subscriber,
        await joined(serving.address, room, "Ana"),
        await joined(other.address, room, "Ben"),
    ):
        assert {each.name for each in await notices(subscriber, 2)} == {"Ana", "Ben"}
        serving.signal(signal.SIGKILL)
        seen = [each for each in await notices(subscriber, 2) if not isinstance(each, Gap)]
        assert [(type(each), each.name) for each in seen] == [(Left, "Ana")]
        async with await joined(other.address, room, "Cleo"):
            assert [each.name for each in await notices(subscriber, 1)] == ["Cleo"]
            await until_present(hub, room, ["Ben", "Cleo"])


# Services that go and come back.


@pytest.fixture(params=[pytest.param(Redis, id="redis"), pytest.param(Postgres, id="postgres")])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A server that is killed."""
    async with running(request.param) as service:
        yield service


@pytest.mark.broker
async def test_after_an_outage_it_heals_by_itself_and_nobody_left_who_did_not(
    service: Service, room: str, quick: None, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(attendance, "SILENT_SECONDS", 2.5)
    monkeypatch.setattr(link, "LONGEST_PAUSE_SECONDS", 0.2)  # both hubs are back well before that
    async with (
        Hub(service.url) as hub,
        Hub(service.url) as elsewhere,
        serve(joining_app(elsewhere, opens_hub=False), port=0) as there,
        hub.subscribe(room, presence=True) as subscriber,
        await joined(there, room, "Ana"),
    ):
        ben = await joined(there, room, "Ben")
        assert [each.name for each in await notices(subscriber, 2)] == ["Ana", "Ben"]
        service.kill()
        await eventually(lambda: hub.state == elsewhere.state == "reconnecting")
        await ben.close()
        await asyncio.sleep(attendance.SILENT_SECONDS + 1.0)
        assert subscriber.waiting == 0
        assert await names_in(hub, room) == ["Ana", "Ben"]
        await service.start()
        (left,) = await notices(subscriber, 1, timeout=20.0)
        assert (type(left), left.name) == (Left, "Ben")
        async with await joined(there, room, "Cleo"):
            (came,) = await notices(subscriber, 1)
            assert (type(came), came.name) == (Joined, "Cleo")
            assert await names_in(hub, room) == ["Ana", "Cleo"]


@over("distant")
async def test_while_a_hub_could_hear_nobody_nobody_was_silent(hub: Hub, there: Server, room: str) -> None:
    peers = hub._rooms._attendance._peers
    async with await joined(there, room, "Ana"):
        assert await names_in(hub, room) == ["Ana"]
        assert peers.age(attendance.SILENT_SECONDS - 0.1, attendance.SILENT_SECONDS) == []
        hub._rooms.state("reconnecting", "the broker is away")
        hub._rooms.state("connected", "")
        assert peers.age(attendance.SILENT_SECONDS - 0.1, attendance.SILENT_SECONDS) == []
        assert [type(each) for each in peers.age(0.2, attendance.SILENT_SECONDS)] == [Left]


# What is said, without a broker.


def arrivals(count: int, metadata: dict[str, Any] | None = None, seconds: float = 100.0) -> list[Arrival]:
    return [Arrival(Present(f"hub-{number}", "Ä" * 200, metadata or {}), seconds) for number in range(count)]


@pytest.mark.parametrize("max_bytes", [1, LEAST_BYTES, 64 * 1024])
def test_lists_are_split_so_that_no_message_is_too_long(max_bytes: int) -> None:
    everybody = arrivals(1000, {"about": "x" * (METADATA_BYTES - 20)})
    payloads = roll_messages("hub", max_bytes, 1000, everybody, whole=True)
    assert max(map(len, payloads)) <= max(max_bytes, LEAST_BYTES)
    rolls = [read_roll(payload) for payload in payloads]
    assert [arrival for roll in rolls for arrival in roll.came] == everybody
    assert [(roll.part, roll.parts, roll.count) for roll in rolls] == [(number, len(rolls), 1000) for number in range(1, len(rolls) + 1)]
    words = [read_word(payload) for payload in word_messages("hub", max_bytes, hello=True, ask=["ä" * 200] * 100, want=["b"])]
    assert sum(len(word.ask) for word in words) == 100
    assert [word.hello for word in words] == [True] + [False] * (len(words) - 1)


def test_metadata_that_utf_8_cannot_say_survives() -> None:
    (payload,) = roll_messages("hub", 1, 1, arrivals(1, {"half": "\ud800"}), ["gone"], whole=False)
    assert read_roll(payload).came[0].present.metadata == {"half": "\ud800"}
    assert read_roll(payload).gone == ["gone"]


def told(peers: Peers, payloads: list[bytes], *, news_seconds: float = 0.0) -> list[Any]:
    news = []
    for payload in payloads:
        roll = read_roll(payload)
        peers.heard(roll.hub)
        news += peers.change("room", roll, news_seconds=news_seconds)
    return news


def test_a_list_with_a_part_missing_changes_nothing() -> None:
    peers, everybody = Peers(), arrivals(100)
    payloads = roll_messages("hub", 1, 100, everybody, whole=True)
    assert len(payloads) > 2
    assert told(peers, payloads) == []
    assert len(peers.present("room")) == 100
    assert told(peers, [payloads[0], *payloads[2:]]) == told(peers, payloads[1:]) == []
    assert len(peers.present("room")) == 100


def test_a_whole_list_says_who_is_new_and_who_is_gone() -> None:
    peers = Peers()
    ana, ben, cleo = arrivals(3)
    assert [each.id for each in told(peers, roll_messages("hub", 1, 2, [ana, Arrival(ben.present, 1.0)], whole=True), news_seconds=2.0)] == [ben.present.id]
    news = told(peers, roll_messages("hub", 1, 2, [ben, cleo], whole=True))
    assert [(type(each), each.id) for each in news] == [(Left, ana.present.id), (Joined, cleo.present.id)]


def test_a_hub_that_said_good_bye_is_not_heard_again_and_one_that_was_given_up_is() -> None:
    peers = Peers()
    told(peers, roll_messages("one", 1, 1, arrivals(1), whole=True))
    assert [type(each) for each in peers.forget("one", for_ever=True)] == [Left]
    assert peers.heard("one") is None
    told(peers, roll_messages("two", 1, 1, arrivals(1), whole=True))
    assert peers.age(1.0, 2.0) == []
    assert [type(each) for each in peers.age(1.0, 2.0)] == [Left]
    assert (peers.heard("two"), peers.heard("two")) == (True, False)


HOSTILE_ROLLS = [
    b'{"hub":"x","count":1,"came":[["i","a\\u0007b",{},0]]}',
    b'{"hub":"x","count":1,"came":[["i","' + b"n" * 201 + b'",{},0]]}',
    b'{"hub":"x","count":1,"came":[["","name",{},0]]}',
    b'{"hub":"x","count":1,"came":[["i","name",{"a":1e999},0]]}',
    b'{"hub":"x","count":1,"came":[["i","name",{"a":"' + b"x" * METADATA_BYTES + b'"},0]]}',
    b'{"hub":"x","count":-1}',
    b'{"hub":"x","count":100000000000}',
    b'{"hub":"' + b"x" * 200_000 + b'"}',
]


@pytest.mark.parametrize("content", HOSTILE_ROLLS, ids=lambda content: content[:60].decode())
def test_what_nobody_may_be_named_or_say_of_himself_is_not_believed(content: bytes) -> None:
    """An infinite number, for one, would go into the JSON of an envelope."""
    with pytest.raises(ValueError, match=r"no hub does|than any hub does"):
        read_roll(b"j" + content)


def test_what_hubs_want_to_be_told_of_is_bounded() -> None:
    peers = Peers()
    for first in range(0, peers_module.ROOMS_WANTED + 5000, 1000):
        peers.wants(read_word(word_messages("hub", 64 * 1024, ask=[f"r{number}" for number in range(first, first + 1000)])[0]))
    assert len(peers.wanted) == peers_module.ROOMS_WANTED

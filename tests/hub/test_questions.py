"""Who is in a room elsewhere is known once all have answered who are there; who cannot be asked, or does not answer, is never taken for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kit import Server, serve
from kit.hub import Hub, HubError, Present, following, questions
from kit.hub.presence import Arrival
from tests.hub.another_process import another_process
from tests.hub.attending import SECONDS, acquainted, everywhere, joined, names_in, over
from tests.hub.conftest import Place
from tests.hub.rooms_app import joining_app

Eventually = Callable[..., Any]


async def test_a_hub_with_a_memory_of_its_own_answers_at_once() -> None:
    async with Hub() as hub, serve(joining_app(hub, opens_hub=False), port=0) as server, await joined(server, "room", "Ana"):
        with pytest.raises(StopIteration) as answer:
            hub.present("room").send(None)  # one step, in which nobody else is asked
        assert [present.name for present in answer.value.value] == ["Ana"]
        assert hub.statistics().rooms[0].elsewhere == 0


def peopled(hub: Hub, rooms: int) -> list[str]:
    """As if a WebSocket had joined each of so many rooms."""
    names = [f"room {number}" for number in range(rooms)]
    everybody = {name: [Arrival(Present(name, "Ana", {}), 100.0)] for name in names}
    attending = hub._rooms._attendance
    attending._announcements._here = lambda room: everybody.get(room, [])
    for name in names:
        attending.came(name, everybody[name][0].present)
    return names


def recorded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rooms ``hub`` has asked for without an answer, after each thing that it hears."""
    attending, unanswered = hub._rooms._attendance, []
    hear = attending.message

    def message(room: str, payload: bytes) -> None:
        hear(room, payload)
        unanswered.append(len(list(attending._following.unanswered)))

    monkeypatch.setattr(attending, "message", message)
    return unanswered


@over("local")
async def test_who_asks_for_more_rooms_at_once_than_can_be_answered_asks_for_some_at_a_time_and_misses_nobody(
    hub: Hub, elsewhere: Hub, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    names = peopled(elsewhere, 1200)
    await eventually(lambda: elsewhere._rooms._attendance._in_lobby)
    await acquainted(hub)
    monkeypatch.setattr(questions, "ANSWER_SECONDS", 60.0)  # answers are what it goes on after, and not time
    unanswered = recorded(hub, monkeypatch)
    found = await asyncio.gather(*map(hub.present, names))
    assert [[present.id for present in each] for each in found] == [[name] for name in names]
    assert max(unanswered) == following.QUESTIONS


@over("local")
async def test_others_are_asked_for_although_somebody_does_not_answer(
    hub: Hub, elsewhere: Hub, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(following, "QUESTIONS", 2)
    monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.1)
    names = peopled(elsewhere, 10)
    await eventually(lambda: elsewhere._rooms._attendance._in_lobby)
    await acquainted(hub)
    silent(elsewhere, monkeypatch)
    asking = asyncio.gather(*map(hub.present, names))
    await eventually(lambda: len(list(hub._rooms._attendance._following.unanswered)) == 10)
    assert not asking.done()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


def silent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on it says that it is there, and answers nothing."""
    monkeypatch.setattr(hub._rooms._attendance, "_answer", lambda _: None)


@everywhere
async def test_once_others_are_known_their_answers_are_all_that_is_waited_for(
    hub: Hub, elsewhere: Hub, there: Server, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await joined(there, room, "Ana"):
        await acquainted(hub)
        monkeypatch.setattr(questions, "ANSWER_SECONDS", 60.0)
        async with asyncio.timeout(SECONDS):
            assert (await names_in(hub, room), await names_in(hub, f"{room} of nobody else")) == (["Ana"], [])


@everywhere
async def test_a_process_that_is_held_up_is_waited_for(hub: Hub, place_of_broker: Place, room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with another_process(place_of_broker.url) as other, await joined(other.address, room, "Ana"):
        await acquainted(hub)
        monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.1)
        with other.stopped():
            asking = asyncio.create_task(names_in(hub, room))
            await asyncio.wait([asking], timeout=10 * questions.ANSWER_SECONDS)
            assert not asking.done(), "it is not known who is there"
        assert await asking == ["Ana"]


@over("local")
async def test_who_has_just_come_hears_of_one_that_is_held_up_from_the_others(
    hub: Hub, place_of_broker: Place, room: str, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """They have a moment to be heard, which is over here when they have been."""
    async with another_process(place_of_broker.url) as other, await joined(other.address, room, "Ana"), Hub(place_of_broker.url) as late:
        await acquainted(hub)
        with other.stopped():
            monkeypatch.setattr(questions, "ANSWER_SECONDS", 60.0)
            asking = asyncio.create_task(names_in(late, room))
            await eventually(lambda: len(late._rooms._attendance._peers.known) == 2)
            late._rooms._attendance._questions._had_time()
            await asyncio.wait([asking], timeout=1.0)
            assert not asking.done(), "it is not known who is there"
        assert await asking == ["Ana"]


@over("local")
async def test_a_process_that_stays_silent_is_waited_for_until_it_is_given_up(hub: Hub, place_of_broker: Place, room: str, quick: Callable[[], None]) -> None:
    async with another_process(place_of_broker.url) as other, await joined(other.address, room, "Ana"):
        await acquainted(hub)
        with other.stopped():
            assert hub._rooms._attendance._peers.known
            quick()
            assert await names_in(hub, room) == []
            assert not hub._rooms._attendance._peers.known


@over("local")
async def test_one_that_is_alive_and_does_not_answer_is_said_to_be_so(
    quick: Callable[[], None], hub: Hub, elsewhere: Hub, there: Server, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await joined(there, room, "Ana"):
        quick()
        await acquainted(hub)
        monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.1)
        monkeypatch.setattr(questions, "_PATIENCE", 5)
        silent(elsewhere, monkeypatch)
        with pytest.raises(HubError, match=r"is not known: 1 of 1 other hubs did not answer within \d s, though alive\. Try again\."):
            await hub.present(room)


@pytest.fixture
async def asking(
    hub: Hub, elsewhere: Hub, there: Server, room: str, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> AsyncIterator[asyncio.Task[list[Present]]]:
    """A question of this hub's that waits for the other, which says nothing."""
    async with await joined(there, room, "Ana"):
        await acquainted(hub)
        silent(elsewhere, monkeypatch)
        task = asyncio.create_task(hub.present(room))
        await eventually(lambda: list(hub._rooms._attendance._following.unanswered))
        yield task


@over("local")
async def test_one_that_says_good_bye_is_waited_for_no_longer(elsewhere: Hub, asking: asyncio.Task[list[Present]]) -> None:
    await elsewhere.close()
    async with asyncio.timeout(SECONDS):
        assert await asking == []


@over("local")
async def test_closing_the_hub_ends_the_wait(hub: Hub, asking: asyncio.Task[list[Present]]) -> None:
    await hub.close()
    with pytest.raises(HubError, match="the hub was closed"):
        await asking


@over("distant")
async def test_a_question_that_could_not_be_asked_is_no_empty_room(hub: Hub, room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(questions, "_PATIENCE", 5)
    hub._rooms.state("reconnecting", "the broker is away")
    with pytest.raises(HubError, match=r"could not be asked within 0.5 s: the broker cannot be reached"):
        await hub.present(room)
    hub._rooms.state("connected", "")
    assert await hub.present(room) == []

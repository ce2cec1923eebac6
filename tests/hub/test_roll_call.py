"""What hubs say to each other of who is in their rooms, and what others make of it, without a broker."""

from __future__ import annotations

from typing import Any

import pytest

from kit.hub import Joined, Left
from kit.hub import peers as peers_module
from kit.hub.message import check_room
from kit.hub.peers import Peers
from kit.hub.presence import METADATA_BYTES, Arrival, Present
from kit.hub.roll_call import LEAST_BYTES, LOBBY, companion_of, read_roll, read_word, roll_messages, word_messages


def test_no_reader_s_room_can_meet_those_of_presence() -> None:
    for name in (LOBBY, companion_of("room")):
        with pytest.raises(ValueError, match="no control characters"):
            check_room(name)


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

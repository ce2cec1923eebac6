"""The Timeline: one order for both sides, bounded, readable while it is written, and redacted when it is saved."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kit.payload import PREVIEW_CHARACTERS, Payload, size_bytes
from kit.redaction import redact
from kit.timeline import Entry, Timeline


def describe_payload(payload: object, more: object) -> dict:
    """The fields of a text Entry, as the taps describe theirs."""
    whole = payload.data if isinstance(payload, Payload) else payload
    visible = payload.visible if isinstance(payload, Payload) else payload
    size = payload.size if isinstance(payload, Payload) else size_bytes(payload)
    return {"kind": "frame-in", "text": visible[:PREVIEW_CHARACTERS], "size": size, "payload": whole, "ordinal": more}


def test_entries_are_numbered_from_one_in_the_order_of_recording() -> None:
    timeline = Timeline()
    for word in ("first", "second", "third"):
        timeline.note(word)
    entries = timeline.entries()
    assert [(entry.number, entry.text) for entry in entries] == [(1, "first"), (2, "second"), (3, "third")]
    assert 0 <= entries[0].at_seconds <= entries[1].at_seconds <= entries[2].at_seconds
    assert timeline.last_number == 3


def test_an_empty_timeline_reads_as_empty() -> None:
    timeline = Timeline()
    assert (timeline.entries(), timeline.last_number, timeline.entry(1), timeline.connections) == ([], 0, None, [])
    assert timeline.statistics() == (0, 0, 0, 0, 0)


def test_a_reader_may_ask_for_what_came_after_an_entry_or_for_one_connection() -> None:
    timeline = Timeline()
    one, two = timeline.open_connection("address 1"), timeline.open_connection("address 2")
    for text, connection in (("a", one), ("b", two), ("c", one), ("d", None)):
        timeline.note(text, connection=connection)
    assert [entry.text for entry in timeline.entries(since=2)] == ["c", "d"]
    assert [entry.text for entry in timeline.entries(connection=1)] == ["a", "c"]
    assert [entry.text for entry in timeline.entries(since=1, connection=1)] == ["c"]
    assert timeline.entries(since=4) == []
    assert timeline.entries(since=99) == []


def test_one_entry_is_found_by_its_number_while_it_stays() -> None:
    timeline = Timeline(entries_limit=3)
    for word in "abcde":
        timeline.note(word)
    assert [getattr(timeline.entry(number), "text", None) for number in range(8)] == [None, None, None, "c", "d", "e", None, None]


def test_the_newest_entries_stay_and_the_others_are_counted() -> None:
    timeline = Timeline(entries_limit=10)
    for number in range(25):
        timeline.note(f"note {number}")
    assert [entry.text for entry in timeline.entries()] == [f"note {number}" for number in range(15, 25)]
    assert timeline.entries()[0].number == 16
    statistics = timeline.statistics()
    assert (statistics.entries, statistics.entries_dropped) == (10, 15)


def test_the_oldest_payloads_fall_out_first_and_leave_preview_and_true_size() -> None:
    timeline = Timeline(payload_limit_bytes=3_000)
    record = timeline.recorder(None, "server", describe_payload)
    payloads = [letter * 1_000 for letter in "abcde"]
    for payload in payloads:
        record(payload)
    entries = timeline.entries()
    assert [entry.payload for entry in entries] == [None, None, *payloads[2:]]
    assert [entry.text for entry in entries] == [payload[:PREVIEW_CHARACTERS] for payload in payloads]
    assert {entry.size for entry in entries} == {1_000}
    statistics = timeline.statistics()
    assert (statistics.payload_bytes, statistics.payloads_dropped) == (3_000, 2)


def test_a_payload_over_the_whole_limit_keeps_only_its_preview() -> None:
    timeline = Timeline(payload_limit_bytes=1_000)
    timeline.recorder(None, "server", describe_payload)("x" * 5_000)
    (entry,) = timeline.entries()
    assert (entry.payload, entry.size, entry.text) == (None, 5_000, "x" * PREVIEW_CHARACTERS)
    assert timeline.statistics().payload_bytes == 0


def test_short_payloads_are_their_own_preview_and_stay() -> None:
    timeline = Timeline(payload_limit_bytes=0)
    record = timeline.recorder(None, "server", describe_payload)
    record("y" * PREVIEW_CHARACTERS)
    record("z" * (PREVIEW_CHARACTERS + 1))
    kept, dropped = timeline.entries()
    assert kept.payload == "y" * PREVIEW_CHARACTERS
    assert dropped.payload is None


def test_a_finalizer_that_prints_a_long_line_while_payloads_are_dropped_holds_nothing_up() -> None:
    timeline = Timeline(payload_limit_bytes=1_000)

    class Finalized(bytes):
        """Its head is taken when it is dropped; then a finalizer runs, as the garbage collector may have it at any time."""

        def __getitem__(self, part: Any) -> bytes:
            timeline.keep("z" * 600)
            return bytes(self)[part]

    def drop_it() -> None:
        timeline.keep(Finalized(b"a" * 900))
        timeline.keep("b" * 500)

    beside = threading.Thread(target=drop_it, daemon=True)
    beside.start()
    beside.join(10.0)
    assert not beside.is_alive()
    statistics = timeline.statistics()
    assert (statistics.payload_bytes, statistics.payloads_dropped) == (600, 2)


@pytest.mark.parametrize("character", ["é", "漢", "🌍"])
def test_the_size_is_in_bytes_and_the_preview_in_characters(character: str) -> None:
    timeline = Timeline(payload_limit_bytes=0)
    timeline.recorder(None, "server", describe_payload)(character * 1_000)
    (entry,) = timeline.entries()
    assert entry.size == 1_000 * len(character.encode())
    assert entry.text == character * PREVIEW_CHARACTERS


def test_many_threads_record_without_losing_or_repeating_a_number() -> None:
    timeline = Timeline(entries_limit=1_000_000)
    enough = threading.Event()

    def record_many() -> None:
        record = timeline.recorder(None, "server", describe_payload)
        while not enough.is_set():
            record("payload", 1)

    threads = [threading.Thread(target=record_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):  # reading meanwhile neither fails nor shows disorder
        numbers = [entry.number for entry in timeline.entries(since=max(0, timeline.last_number - 100))]
        assert numbers == sorted(set(numbers))
    enough.set()
    for thread in threads:
        thread.join()
    numbers = [entry.number for entry in timeline.entries()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert timeline.last_number == len(numbers) == timeline.statistics().entries


def test_a_subscriber_is_woken_once_and_takes_everything_new_at_once() -> None:
    timeline = Timeline()
    timeline.note("before")
    wakes: list[int] = []
    subscription = timeline.subscribe(lambda: wakes.append(timeline.last_number))
    for number in range(5):
        timeline.note(f"note {number}")
    assert len(wakes) == 1
    entries, skipped = subscription.take()
    assert ([entry.text for entry in entries], skipped) == ([f"note {number}" for number in range(5)], 0)
    assert subscription.take() == ([], 0)
    timeline.note("later")
    assert len(wakes) == 2
    assert [entry.text for entry in subscription.take()[0]] == ["later"]


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as the interpreter can, so that a race shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_readers_that_come_and_go_while_four_threads_record_get_every_entry_once(eager_threads: None) -> None:
    timeline, problems = Timeline(entries_limit=100_000), []

    def record() -> None:
        try:
            for number in range(2_000):
                timeline.note(str(number))
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=record) for _ in range(4)]
    seen: list[int] = []
    woken = threading.Event()
    subscription = timeline.subscribe(woken.set)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or woken.is_set():
        woken.wait(timeout=0.1)
        woken.clear()
        timeline.subscribe(lambda: None).close()
        seen += [entry.number for entry in subscription.take(most=100_000)[0]]
    for thread in threads:
        thread.join()
    assert problems == []
    assert seen == list(range(1, 8_001))


def test_a_subscriber_that_never_takes_is_woken_once_whatever_is_recorded() -> None:
    """It costs the taps nothing: no queue grows for it and nobody calls it again."""
    timeline = Timeline(entries_limit=100)
    wakes: list[bool] = []
    subscription = timeline.subscribe(lambda: wakes.append(True))
    for number in range(10_000):
        timeline.note(str(number))
    assert len(wakes) == 1
    entries, skipped = subscription.take()
    assert ([entry.text for entry in entries], skipped) == ([str(number) for number in range(9_900, 10_000)], 9_900)


def test_a_slow_subscriber_gets_the_newest_and_is_told_how_much_it_missed() -> None:
    timeline = Timeline()
    subscription = timeline.subscribe(lambda: None)
    for number in range(30):
        timeline.note(str(number))
    entries, skipped = subscription.take(10)
    assert ([entry.text for entry in entries], skipped) == ([str(number) for number in range(20, 30)], 20)


def test_several_subscribers_are_all_woken_and_each_has_its_own_place() -> None:
    timeline = Timeline()
    wakes: list[str] = []
    one, two = timeline.subscribe(lambda: wakes.append("one")), timeline.subscribe(lambda: wakes.append("two"))
    timeline.note("a")
    assert sorted(wakes) == ["one", "two"]
    assert len(one.take()[0]) == 1
    timeline.note("b")
    assert (len(one.take()[0]), len(two.take()[0])) == (1, 2)


def test_a_closed_or_forgotten_subscription_is_woken_no_more() -> None:
    timeline = Timeline()
    wakes: list[str] = []
    closed, forgotten = timeline.subscribe(lambda: wakes.append("closed")), timeline.subscribe(lambda: wakes.append("forgotten"))
    closed.close()
    closed.close()
    del forgotten
    gc.collect()
    timeline.note("nobody listens")
    assert wakes == []


# Export and redaction.


def test_a_compressed_frame_loses_its_payload_because_nobody_can_see_what_it_holds() -> None:
    details = {"opcode": "BINARY", "compressed": True}
    entry = Entry(1, 0.0, 1, "client", "frame-out", "2a 4e", size=2, payload=b"*N", details=details).redacted()
    assert (entry.text, entry.payload, entry.size, entry.details) == ("", None, 2, details)


@pytest.mark.parametrize("name", ["X-Token", "x-auth-token", "X-API-Key", "Authorization", "Set-Cookie", "X-Session-Id", "Sec-WebSocket-Protocol"])
def test_a_header_whose_name_says_that_it_is_secret_is_blotted_out(name: str) -> None:
    headers = [(name, "fake-super-secret-token"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZQ=="), ("Host", "here")]
    redacted = Entry(1, 0.0, 1, "server", "request", "", details={"headers": headers}).redacted()
    assert redacted.details["headers"] == [(name, "[redacted]"), *headers[1:]]


def test_details_are_redacted_at_any_depth() -> None:
    details = {"lines": ["at /ws?token=abc123"], "more": {"inner": ("password=abc123", 7)}}
    redacted = Entry(1, 0.0, 1, "server", "error", "", details=details).redacted()
    assert redacted.details == {"lines": ["at /ws?token=[redacted]"], "more": {"inner": ["password=[redacted]", 7]}}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("/ws?token=abc123", "abc123"),
        ("/ws?a=1&access_token=abc123&b=2", "abc123"),
        ("/ws?kit_token=abc123", "abc123"),
        ("/ws?API_KEY=abc123", "abc123"),
        ("password=abc123", "abc123"),
        ("Authorization: Bearer abc123", "abc123"),
        ("authorization: basic YWJjMTIz", "YWJjMTIz"),
        ('{"password": "abc123"}', "abc123"),
        ('{"user": {"refreshToken": "abc123"}}', "abc123"),
        ('{"client_secret":"a\\"bc123"}', "bc123"),
        ('{"password": "abc123 and the preview ends he', "abc123"),
        ("session_id=abc123; path=/", "abc123"),
    ],
)
def test_redaction_finds_secrets_in_urls_forms_headers_and_json(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact(text)


@pytest.mark.parametrize("text", ["hello", "/ws?room=1", '{"tokens": []}', "the token is secret", "a password?", "1+1=2", ""])
def test_redaction_leaves_ordinary_text_alone(text: str) -> None:
    assert redact(text) == text


def test_redacting_an_entry_leaves_the_original_as_it_was() -> None:
    timeline = Timeline()
    timeline.note("token=abc123")
    entry = timeline.entries()[0]
    assert "abc123" not in entry.redacted().text
    assert entry.text == "token=abc123"

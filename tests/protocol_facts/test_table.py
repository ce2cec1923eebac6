"""Every row of the table, seen by real clients, explained, and in a test."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from kit import Server
from kit.closing import explain
from tests.protocol_facts.clients import in_a_test, over, seen_by_a_plain_client, seen_by_the_kits_client
from tests.protocol_facts.facts import FACTS, FAILED, Fact, each_fact
from tests.protocol_facts.handlers import app


@each_fact
@pytest.mark.parametrize("client", [seen_by_the_kits_client, seen_by_a_plain_client], ids=["kit", "plain"])
async def test_what_a_real_client_sees_and_what_the_timeline_knows(server: Server, fact: Fact, client: Callable, eventually: Callable) -> None:
    seen, connection = await client(server, fact)
    expected = fact.client
    assert str(seen) == str(expected)
    if expected.status and expected != FAILED:
        assert seen.body == expected.body
    assert seen.headers.items() >= expected.headers.items()
    await eventually(lambda: over(connection))
    assert {name: getattr(connection, name) for name in fact.knows} == fact.knows


@each_fact
async def test_the_explanation_says_it_in_words(server: Server, fact: Fact, eventually: Callable) -> None:
    _, connection = await seen_by_the_kits_client(server, fact)
    await eventually(lambda: over(connection))
    text = str(explain(connection))
    assert [words for words in fact.explained if words not in text] == [], text


@pytest.mark.parametrize("fact", [fact for fact in FACTS if "NegotiationError" not in fact.client.error], ids=lambda fact: fact.handler)
async def test_the_explanation_is_the_same_for_a_stranger(server: Server, fact: Fact, eventually: Callable) -> None:
    _, connection = await seen_by_a_plain_client(server, fact)
    await eventually(lambda: over(connection))
    text = str(explain(connection))
    assert connection.name == "stranger"
    assert [words for words in fact.explained if words not in text] == [], text


@each_fact
def test_what_testclient_shows(fact: Fact) -> None:
    shown = in_a_test(app, fact)
    expected = fact.in_a_test or str(fact.client)
    assert re.fullmatch(re.escape(expected).replace("…", ".*"), shown, re.DOTALL), shown
    assert fact.in_a_test != str(fact.client), "TestClient shows the same: leave in_a_test out"


def test_testclient_shows_the_lost_code_of_every_refusal_by_closing() -> None:
    """The rows of which a passing test proves nothing."""
    lies = {fact.handler for fact in FACTS if fact.in_a_test.startswith("closed")}
    assert lies == {
        "close() before accept",
        "WebSocketException before accept",
        "a validation error",
        "nothing: no route has this path",
        "close with code 1005",
        "close with code 999",
        "close with a reason of over 123 bytes",
    }

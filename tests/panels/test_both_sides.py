"""BothSides: one chat panel a client, the conversation, and the server, all of one Timeline."""

from __future__ import annotations

from typing import Any

import pytest

from kit import BothSides, Server


async def test_it_has_a_chat_panel_for_each_client_and_connects_none(server: Server) -> None:
    both = BothSides(server, "/ws", clients=["Ana", "Ben"], query={"room": "1"})
    assert list(both.chats) == ["Ana", "Ben"]
    assert both["Ben"].name == "Ben"
    assert {id(panel.timeline) for panel in (*both.chats.values(), both.conversation, both.server_panel)} == {id(server.timeline)}
    assert server.timeline.connections == []


async def test_its_chat_panels_talk(server: Server) -> None:
    both = BothSides(server, "/ws", clients=("Ana", "Ben"))
    for name in ("Ana", "Ben"):
        await both[name].connect()
        await both[name].send(f"I am {name}")
    assert [(connection.number, connection.name) for connection in server.connections] == [(1, "Ana"), (2, "Ben")]


async def test_one_name_may_stand_alone(server: Server) -> None:
    assert list(BothSides(server, "/ws", clients="Ana").chats) == ["Ana"]


@pytest.mark.parametrize("clients", [[], ["Ana", "Ana"]])
async def test_no_client_and_the_same_client_twice_are_refused(server: Server, clients: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expects one or more different names, but got .* Write for example clients="):
        BothSides(server, "/ws", clients=clients)


async def test_a_name_that_is_not_there_says_which_are(server: Server) -> None:
    with pytest.raises(KeyError, match="no client 'Cleo' here; there are 'Ana', 'Ben'"):
        BothSides(server, "/ws", clients=["Ana", "Ben"])["Cleo"]


async def test_its_snapshot_is_one_of_each_panel(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    BothSides(server, "/ws", clients=["Ana", "Ben"]).snapshot()
    titles = [data["text/plain"].splitlines()[0] for data in shown]
    assert [title.split(" · ")[0] for title in titles] == ["Ana", "Ben", "Both sides of server main", "Server main"]

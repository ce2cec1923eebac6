"""BothSides: one chat panel a client, the conversation, and the server, all of one Timeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kit import BothSides, Server
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]


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


def front_ends(both: BothSides) -> list[Any]:
    """The widgets in the columns from left to right, without the boxes around them."""
    return [widget for stack in both.children[1].children for widget in stack.children]


def button_states(bar: FrontEnd) -> dict[str, bool]:
    """Which of the header's buttons are pressed, as the header was told last."""
    told = next(message["views"] for message in reversed(bar.messages) if "views" in message)
    return {view["name"]: view["shown"] for view in told}


async def test_four_views_are_shown_first_and_others_on_demand_in_their_own_order(server: Server) -> None:
    both = BothSides(server, "/ws")
    assert both.views == ("chats", "sequence", "handler", "server")
    both.show("frames", "conversation", "frames")
    assert both.views == BothSides.VIEWS
    both.hide("chats", "sequence", "server")
    assert front_ends(both) == [both.conversation, both.frames, both.handler]
    both.hide("handler")
    assert [len(stack.children) for stack in both.children[1].children] == [2]  # a column without a view takes no room
    assert BothSides(server, "/ws", views="frames").views == ("frames",)


async def test_the_headers_buttons_show_and_hide_as_the_methods_do(server: Server, show: Show, eventually: Eventually) -> None:
    both = BothSides(server, "/ws")
    bar = show(both.children[0])
    await eventually(lambda: bool(bar.messages))
    assert button_states(bar) == dict.fromkeys(BothSides.VIEWS, True) | {"conversation": False, "frames": False}
    bar.do("toggle", view_name="frames")
    await eventually(lambda: button_states(bar)["frames"])
    assert both.frames in front_ends(both)
    bar.do("toggle", view_name="frames")
    await eventually(lambda: not button_states(bar)["frames"])
    assert both.frames not in front_ends(both)
    both.hide("chats")
    await eventually(lambda: not button_states(bar)["chats"])


@pytest.mark.parametrize("name", ["chat", ""])
async def test_a_view_that_is_not_there_is_refused_and_nothing_changes(server: Server, name: str) -> None:
    both = BothSides(server, "/ws")
    wrong = f"views expects some of chats, sequence, conversation, frames, handler, server, but got {name!r}"
    for asked in (both.show, both.hide, lambda view: BothSides(server, "/ws", views=[view])):
        with pytest.raises(ValueError, match=wrong):
            asked(name)
    assert both.views == ("chats", "sequence", "handler", "server")


async def test_a_button_that_names_no_view_says_so_in_the_header(server: Server, show: Show, eventually: Eventually) -> None:
    bar = show(BothSides(server, "/ws").children[0])
    bar.do("toggle", view_name="wall")
    await eventually(lambda: any("but got 'wall'" in message.get("error", "") for message in bar.messages))


async def test_a_hidden_view_is_told_nothing_and_catches_up_when_it_is_shown(server: Server, show: Show, eventually: Eventually) -> None:
    both = BothSides(server, "/ws", clients=["Ana"], views=["chats", "conversation"])
    rows = show(both.conversation)
    await eventually(lambda: bool(rows.messages))
    both.hide("conversation")
    rows.do("bye")  # what its front end says when it is taken off the page
    await both["Ana"].connect()
    await both["Ana"].send("unseen")
    chat = show(both["Ana"])
    await eventually(lambda: "unseen" in chat.words())
    assert "unseen" not in rows.words()
    both.show("conversation")
    again = show(both.conversation)
    await eventually(lambda: "unseen" in again.words())


async def test_closed_it_is_off_the_page_and_its_clients_stay(server: Server, show: Show, eventually: Eventually) -> None:
    both = BothSides(server, "/ws", clients=["Ana"])
    await both["Ana"].connect()
    chat = show(both["Ana"])
    await eventually(lambda: bool(chat.messages))
    inside = [both.children[0], both.conversation, both.frames, *front_ends(both)]
    both.close()
    both.close()
    assert both.comm is None
    assert all(widget.comm is None for widget in inside)
    assert [connection.name for connection in server.connections] == ["Ana"]


async def test_one_that_was_refused_can_be_closed(server: Server) -> None:
    BothSides.__new__(BothSides).close()

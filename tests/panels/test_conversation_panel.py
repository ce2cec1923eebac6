"""ConversationPanel: the rows of both ends, told as they fill up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kit import ConversationPanel, Server, connect, serve
from tests.apps import app
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]


def row_with(front_end: FrontEnd, client: str) -> dict[str, Any]:
    return next((row for row in front_end.shown if row["client"] == client), {})


async def test_one_message_is_one_row_from_client_over_wire_to_handler(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ConversationPanel(server))
    async with connect(server, "/ws", name="Ana") as client:
        await client.send_text("hello")
        await client.receive_text(timeout=5)
        await eventually(lambda: len([row for row in front_end.shown if row["client"] == "“hello”" and row["handler"] and not row["waits"]]) == 2)
        up, down = (row for row in front_end.shown if row["client"] == "“hello”")
        assert (up["direction"], up["wire"], up["handler"]) == ("up", "TEXT 5 B", "receive “hello”")
        assert (down["direction"], down["wire"], down["handler"]) == ("down", "TEXT 5 B", "send “hello”")
        assert front_end.messages[-1]["names"] == {"1": "Ana"}


async def test_a_message_that_nobody_receives_waits_for_the_handler(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ConversationPanel(server))
    async with connect(server, "/silent") as client:
        await client.send_text("anybody?")
        await eventually(lambda: row_with(front_end, "“anybody?”").get("waits") == "handler")
        assert row_with(front_end, "“anybody?”")["handler"] == ""


async def test_a_replaced_server_is_a_divider_and_the_rows_go_on(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ConversationPanel(server))
    async with connect(server, "/ws"):
        await serve(app)
        await eventually(lambda: any(row["wire"] == "CLOSE 1012" for row in front_end.shown))
    await eventually(lambda: [row["direction"] for row in front_end.shown].count("divider") == 3)


async def test_a_late_view_is_told_every_row(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ConversationPanel(server)
    early = show(panel)
    async with connect(server, "/ws") as client:
        await client.send_text("hello")
        await client.receive_text(timeout=5)
    await eventually(lambda: any(row["wire"] == "CLOSE 1000" and row["direction"] == "down" for row in early.shown))
    late = show(panel)
    await eventually(lambda: [row["key"] for row in late.shown] == [row["key"] for row in early.shown])


async def test_its_snapshot_is_static_and_has_no_secrets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    async with connect(server, "/ws?token=spring-rain", cookies={"session": "spring-rain"}) as client:
        await client.send_text("<img src=x> token=spring-rain")
        await client.receive_text(timeout=5)
        await client.close(4000, "token=spring-rain")
    ConversationPanel(server).snapshot()
    html, text = shown[0]["text/html"], shown[0]["text/plain"]
    assert "&lt;img src=x&gt;" in html
    assert "<img" not in html
    assert "“<img src=x> token=[redacted]”" in text
    assert "CLOSE 4000" in text
    assert "spring-rain" not in html + text

"""FramePanel: one connection's wire, live over real sockets, under the glass, exported, and out of a file again."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as dial

from kit import Server, connect, loops, serve
from kit.errors import HandshakeRefused
from kit.panels.frame import FramePanel
from kit.recording import RecordingError, read_recording, write_recording
from kit.timeline import Entry, Timeline
from tests.apps import app
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]


def frames(front_end: FrontEnd) -> list[dict[str, Any]]:
    """The rows of frames that a view would show now."""
    return [row for row in front_end.shown if "header" in row]


def complete(front_end: FrontEnd) -> list[dict[str, Any]]:
    """Those that both ends have seen."""
    return [row for row in frames(front_end) if "client_entry" in row and "server_entry" in row]


def told(front_end: FrontEnd, what: str) -> list[Any]:
    return [message[what] for message in front_end.messages if what in message]


async def inspected(front_end: FrontEnd, key: str, eventually: Eventually) -> dict[str, Any]:
    front_end.do("inspect", key=key)
    return await eventually(lambda: next((found for found in told(front_end, "inspected") if found["key"] == key), None))


async def test_every_length_crosses_both_ways_as_text_and_binary(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(FramePanel(server))
    sizes = [0, 125, 126, 65_535, 65_536]
    async with connect(server, "/ws", name="Ana") as client:
        for size in sizes:
            await client.send_text("x" * size)
            await client.receive_text(timeout=5)
            await client.send_bytes(b"y" * size)
            await client.receive_bytes(timeout=5)
        await eventually(lambda: len(complete(front_end)) == 20)
    rows = complete(front_end)[:20]
    assert [row.get("size", 0) for row in rows[::4]] == sizes
    assert [(row["direction"], row["opcode"]) for row in rows[:4]] == [("up", "TEXT"), ("down", "TEXT"), ("up", "BINARY"), ("down", "BINARY")]
    assert [len(row["header"]) // 2 for row in rows if row["direction"] == "up"] == [6, 6, 6, 6, 8, 8, 8, 8, 14, 14]
    assert [len(row["header"]) // 2 for row in rows if row["direction"] == "down"] == [2, 2, 2, 2, 4, 4, 4, 4, 10, 10]
    found = await inspected(front_end, rows[-2]["key"], eventually)
    assert base64.b64decode(found["payload"]) == b"y" * 65_536


async def test_the_handshake_explains_its_accept_value(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(FramePanel(server))
    async with connect(server, "/ws?room=7"):
        await eventually(lambda: [row["key"] for row in front_end.shown] == ["request", "response"])
        request = await inspected(front_end, "request", eventually)

        def seen_by_both() -> dict[str, Any] | None:
            front_end.do("inspect", key="response")
            answers = [found for found in told(front_end, "inspected") if found["key"] == "response"]
            return answers[-1] if answers and "Both ends saw the same start line and headers" in answers[-1]["seen"] else None

        response = await eventually(seen_by_both)  # the panel may hear of the client's end a moment later
    assert request["startLine"] == "GET /ws?room=7 HTTP/1.1"
    assert response["accept"]["right"] is True


async def test_pings_and_both_close_frames_are_rows(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(FramePanel(server))
    async with dial(server.url.replace("http", "ws") + "/ws", proxy=None) as stranger:
        await (await stranger.ping(b"are you there?"))
        await stranger.close(4321, "enough")
    await eventually(lambda: [row["opcode"] for row in frames(front_end)] == ["PING", "PONG", "CLOSE", "CLOSE"])
    ping, pong, ours, theirs = frames(front_end)
    assert (ping["text"], pong["text"]) == (b"are you there?".hex(" "), b"are you there?".hex(" "))
    assert (ours["direction"], theirs["direction"], ours["text"]) == ("up", "down", "4321 the application's own code: enough")
    assert (await inspected(front_end, ours["key"], eventually))["close"]["reason"] == "enough"


async def test_of_a_strangers_frames_only_the_servers_end_is_known(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(FramePanel(server))
    async with dial(server.url.replace("http", "ws") + "/ws", proxy=None, compression=None) as stranger:
        await stranger.send(["in ", "three ", "parts"])
        assert await stranger.recv() == "in three parts"
        await eventually(lambda: len(frames(front_end)) >= 4)
        assert front_end.state["stranger"] is True
        parts = [row for row in frames(front_end) if row["direction"] == "up"]
        assert [(row["opcode"], row["message"], row["fragment"], row.get("last", True)) for row in parts][:2] == [("TEXT", 1, 1, False), ("CONT", 1, 2, False)]
        assert parts[-1].get("last", True)
        assert "client_entry" not in parts[0]
        assert (await inspected(front_end, parts[0]["key"], eventually))["seen"] == "Made by a stranger: only the server's end is known."


async def test_a_refusal_shows_its_status_and_body(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(FramePanel(server))
    with pytest.raises(HandshakeRefused):
        await connect(server, "/refuse/denial")
    await eventually(lambda: front_end.state.get("pill") == "refused 503" and len(front_end.shown) >= 2)
    found = await inspected(front_end, "response", eventually)
    assert (found["body"], found["accept"]) == ('{"why":"full"}', None)
    assert "503" in front_end.state["why"]


async def test_a_compressed_message_is_shown_as_the_handler_saw_it(show: Show, eventually: Eventually) -> None:
    async with serve(app, port=0, compression=True) as server, connect(server, "/ws", compression=True) as client:
        front_end = show(FramePanel(client))
        await client.send_text("hello hello hello")
        await client.receive_text(timeout=5)
        await eventually(lambda: [row.get("inflated") for row in complete(front_end)] == ["hello hello hello"] * 2)
        assert all(int(row["header"][:2], 16) & 0x40 for row in frames(front_end))


async def test_a_frame_that_nobody_reads_is_told_again_once_it_is_read(server: Server, show: Show, eventually: Eventually) -> None:
    """The handler sends more than the sockets between the two can hold, and the client takes nothing."""
    front_end = show(FramePanel(server))
    async with connect(server, "/flood") as client:
        await eventually(lambda: frames(front_end) and "client_entry" not in frames(front_end)[-1])
        waiting = frames(front_end)[-1]
        for _ in range(waiting["message"]):
            await client.receive_bytes(timeout=5)
        await eventually(lambda: waiting["key"] in [row["key"] for row in complete(front_end)])


async def test_it_looks_at_the_newest_connection_until_one_is_chosen(server: Server, show: Show, eventually: Eventually) -> None:
    panel = FramePanel(server)
    front_end = show(panel)
    async with connect(server, "/ws", name="Ana") as ana, connect(server, "/ws", name="Ben"):
        await eventually(lambda: front_end.state.get("number") == 2 and len(front_end.shown) == 2)
        assert [connection["name"] for connection in front_end.state["connections"]] == ["Ana", "Ben"]
        front_end.do("look", number=1)
        await eventually(lambda: front_end.state["number"] == 1)
        await ana.send_text("to Ana's handler")
        await eventually(lambda: "to Ana's handler" in front_end.words())
        assert front_end.state["newest"] is False
        panel.look_at(None)
        await eventually(lambda: front_end.state["number"] == 2)
        assert "to Ana's handler" not in front_end.words()
        with pytest.raises(ValueError, match=r"expected the number of a connection \(1, 2\), or None for the newest, but got 9"):
            panel.look_at(9)
        front_end.do("look", number="x")
        await eventually(lambda: "but got 'x'" in "".join(told(front_end, "error")))


async def test_a_clients_panel_stays_with_its_own_connection(server: Server, show: Show, eventually: Eventually) -> None:
    async with connect(server, "/ws", name="Ana") as ana, connect(server, "/ws", name="Ben"):
        front_end = show(FramePanel(ana))
        await eventually(lambda: front_end.state.get("number") == 1)
        assert front_end.state["newest"] is False


async def test_an_export_goes_to_the_view_that_asked_and_opens_again_without_a_server(show: Show, eventually: Eventually, tmp_path: Path) -> None:
    async with serve(app, port=0) as server:
        panel = FramePanel(server)
        front_end, other = show(panel), show(panel)
        async with connect(server, "/ws?token=s3cr3t", name="Ana") as client:
            await client.send_text("hello")
            await client.receive_text(timeout=5)
        await eventually(lambda: len(complete(front_end)) == 4 and len(front_end.shown) == 8)
        await eventually(lambda: any(entry.kind == "end" and entry.details["what"] == "handler" for entry in server.timeline.entries()))  # the last of all
        front_end.do("export")
        await eventually(lambda: told(front_end, "exported"))
        assert told(other, "exported") == []
        text = "".join(part["text"] for part in told(front_end, "exported"))
        assert panel.export(tmp_path / "ana.jsonl") == text
        live = [row["key"] for row in front_end.shown]
    assert "s3cr3t" not in (tmp_path / "ana.jsonl").read_text("utf-8")
    assert {entry.text for entry in read_recording(text).entries()} >= {"hello"}
    again = show(FramePanel.from_recording(tmp_path / "ana.jsonl"))
    await eventually(lambda: again.state.get("recording") == "ana.jsonl")
    assert [row["key"] for row in again.shown] == live
    assert (again.state["pill"], again.state["connections"][0]["name"]) == ("closed 1000", "Ana")


async def test_a_file_is_opened_in_parts_and_the_panel_comes_back_to_live(server: Server, show: Show, eventually: Eventually) -> None:
    async with serve(app, port=0, name="other") as other, connect(other, "/ws", name="Zoe") as client:
        await client.send_text("long ago")
        await client.receive_text(timeout=5)
        data = write_recording(other.timeline).encode()
    front_end = show(FramePanel(server))
    half = len(data) // 2
    for part, piece in enumerate((data[:half], data[half:])):
        front_end.do("open", name="old.jsonl", part=part, parts=2, data=base64.b64encode(piece).decode())
        await eventually(lambda part=part: part == 0 or front_end.state.get("recording") == "old.jsonl")
    assert "long ago" in front_end.words()
    assert front_end.state["live"] is False
    front_end.do("live")
    await eventually(lambda: front_end.state["live"])
    assert front_end.shown == []
    async with connect(server, "/ws", name="Ana"):
        await eventually(lambda: len(front_end.shown) == 2)


async def test_what_is_no_recording_is_refused_in_the_panel_which_goes_on(server: Server, show: Show, eventually: Eventually) -> None:
    panel = FramePanel(server)
    front_end = show(panel)
    for data, words in ((base64.b64encode(b"{}\n").decode(), "line 1: expected"), ("no base64!", "in base64"), (base64.b64encode(b"\xff").decode(), "UTF-8")):
        front_end.do("open", name="bad", part=0, parts=1, data=data)
        await eventually(lambda words=words: words in "".join(told(front_end, "error")))
    front_end.do("open", name="bad", part=1, parts=2, data="")
    await eventually(lambda: "in order" in "".join(told(front_end, "error")))
    with pytest.raises(RecordingError, match=r"no file 'missing\.jsonl'"):
        await panel.open_recording("missing.jsonl")
    async with connect(server, "/ws"):
        await eventually(lambda: len(front_end.shown) == 2)


async def test_choices_are_told_to_every_view_and_checked(server: Server, show: Show, eventually: Eventually) -> None:
    panel = FramePanel(server)
    front_end = show(panel)
    panel.filter(direction="up", kind="text", find="a+", regular=True, only=True)
    wanted = {"direction": "up", "kind": "text", "find": "a+", "regular": True, "only": True}
    await eventually(lambda: wanted in told(front_end, "filter"))
    late = show(panel)
    await eventually(lambda: told(late, "filter") == [wanted])
    with pytest.raises(ValueError, match="expected direction to be one of all, up, down, but got 'left'"):
        panel.filter(direction="left")


async def test_a_flood_is_bounded_counted_and_complete_in_the_end(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(FramePanel(server))
    async with connect(server, "/count/5000") as client:
        for _ in range(5_000):
            await client.receive_text(timeout=5)
        await eventually(lambda: front_end.state and front_end.state["older"] > 1_000 and [row["text"] for row in complete(front_end)[-2:]] == ["4998", "4999"])
        await eventually(lambda: [row["text"] for row in front_end.shown][-2_000:] == [str(number) for number in range(3_000, 5_000)])
    assert max(len(json.dumps(message)) for message in front_end.messages) < 600_000


async def test_a_row_that_is_gone_is_said_to_be_gone(server: Server, show: Show, eventually: Eventually) -> None:
    panel = FramePanel(server)
    assert (await inspected(show(panel), "up 99", eventually))["payloadSays"] == "This row has left the list: only its beginning is known."
    with pytest.raises(KeyError, match="expected the key of a row"):
        await panel.inspect("up 99")


async def test_a_panel_that_is_not_displayed_can_be_asked_all_the_same(server: Server) -> None:
    async with connect(server, "/ws") as client:
        await client.send_text("hello")
        await client.receive_text(timeout=5)
        panel = FramePanel(server)
        assert (await panel.inspect("request"))["startLine"].startswith("GET /ws")


async def test_a_snapshot_has_the_rows_without_their_secrets(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    async with connect(server, "/ws?token=s3cr3t") as client:
        await client.send_json({"password": "s3cr3t", "user": "ana"})
        await client.receive_text(timeout=5)
        await client.close(1000, "done")
        FramePanel(server).snapshot()
    said = capsys.readouterr().out
    assert "s3cr3t" not in said
    assert "client → server TEXT" in said


async def test_an_unknown_source_is_refused_with_what_is_expected(server: Server) -> None:
    with pytest.raises(TypeError, match="expected a server from"):
        FramePanel("ws://localhost")


async def test_what_a_flood_left_untold_is_told_to_every_view_although_one_came_meanwhile(show: Show, eventually: Eventually) -> None:
    timeline = Timeline()
    timeline.open_connection("here", name="Ana")
    panel = FramePanel(timeline)
    early = show(panel)
    await eventually(lambda: early.messages)
    details = {"opcode": "TEXT", "fin": True, "masked": False, "compressed": False, "header": "8101"}
    flood = [Entry(number, 0.0, 1, "server", "frame-out", "x", 1, "x", number, details) for number in range(1, 151)]

    async def passing_over_some() -> None:
        panel.on_tick(flood, 5)

    await loops.panels().run(passing_over_some())
    show(panel)
    await eventually(lambda: [message for message in early.messages[1:] if message.get("reset")])


async def test_two_clicks_on_export_are_one_file(show: Show, eventually: Eventually) -> None:
    timeline = Timeline()
    for _ in range(3):
        timeline.note("x" * 1_000_000)
    front_end = show(FramePanel(timeline))
    front_end.do("export")
    front_end.do("export")
    parts = await eventually(lambda: told(front_end, "exported")[-1:] and told(front_end, "exported")[-1]["parts"])
    await eventually(lambda: told(front_end, "exported")[-1]["part"] == parts - 1)
    assert parts > 2
    assert [each["part"] for each in told(front_end, "exported")] == list(range(parts))
    front_end.do("export")
    await eventually(lambda: len(told(front_end, "exported")) == 2 * parts)


async def test_other_panels_go_on_while_a_file_is_written(show: Show, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    written, panel = threading.Event(), FramePanel(Timeline())
    front_end = show(panel)
    monkeypatch.setattr(panel, "export", lambda: f"others went on: {written.wait(10)}")
    front_end.do("export")
    await eventually(lambda: panel._exporting)
    loops.panels().call_soon(written.set)
    await eventually(lambda: [each["text"] for each in told(front_end, "exported")] == ["others went on: True"])


async def test_the_parts_of_a_file_are_forgotten_when_their_view_is_gone(server: Server, show: Show, eventually: Eventually) -> None:
    panel = FramePanel(server)
    front_end, stays = show(panel), show(panel)
    front_end.do("open", name="large", part=0, parts=9, data=base64.b64encode(bytes(1_000)).decode())
    await eventually(lambda: panel._uploads)
    front_end.do("bye")
    await eventually(lambda: not panel._uploads)
    assert stays.messages


async def test_an_old_connection_is_still_known_when_two_hundred_have_come_after_it(show: Show, eventually: Eventually) -> None:
    timeline = Timeline()
    for number in range(250):
        timeline.open_connection(number, name=f"client {number}")
    front_end = show(FramePanel(timeline, 1))
    await eventually(lambda: front_end.state.get("pill") == "connecting")
    assert [connection["name"] for connection in front_end.state["connections"]] == ["client 0", *(f"client {number}" for number in range(50, 250))]


async def test_a_paused_view_gets_nothing_of_another_connection_under_the_key_of_its_own(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(FramePanel(server))
    async with connect(server, "/ws"), connect(server, "/listening"):
        await eventually(lambda: front_end.state.get("number") == 2 and len(front_end.shown) == 2)
        front_end.do("inspect", key="request", number=1)
        found = await eventually(lambda: told(front_end, "inspected"))
    assert found[0]["payloadSays"] == "This row has left the list: only its beginning is known."


async def test_a_recording_that_is_text_with_a_byte_order_mark_is_told_from_a_path() -> None:
    assert FramePanel.from_recording("\ufeff" + write_recording(Timeline()))._recording == "a recording"

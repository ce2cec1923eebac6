"""HandlerPanel: the handlers' source, and a mark on the line where each connection's handler is, with a sentence."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from starlette.endpoints import WebSocketEndpoint

from kit import Client, Server, connect, serve
from kit.panels.handler import HandlerPanel
from kit.panels.handler_marks import Mark, Stopwatch, grouped
from kit.suspension import Suspension
from kit.waiting import Wait
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]

app = FastAPI()


class Room:
    """Whom a message goes to."""

    def __init__(self) -> None:
        self.members: list[WebSocket] = []

    async def broadcast(self, text: str) -> None:
        for member in self.members:
            await member.send_text(text)


room, go_on = Room(), threading.Event()


async def opened() -> AsyncIterator[str]:
    yield "open"


@app.websocket("/ws/{name}")
async def talk(websocket: WebSocket, name: str, state: str = Depends(opened)) -> None:
    """What most tests look at."""
    await websocket.accept()
    room.members.append(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            if text == "sleep":
                await asyncio.sleep(30)
            if text == "block":
                go_on.wait(60)  # blocking the loop is what is tested
            if text == "reveal":
                raise ValueError("token=" + "spring-rain")
            if text == "raise a sentence":
                raise ValueError("It is over.")
            if text == "raise":
                raise ZeroDivisionError("as asked")
            while text == "flood":
                await room.broadcast("x" * 100_000)
    except WebSocketDisconnect:
        pass
    finally:
        room.members.remove(websocket)


@app.websocket("/tasks")
async def tasks(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.gather(websocket.receive_text(), asyncio.sleep(30))


@app.websocket("/short")
async def short(websocket: WebSocket) -> None:
    await websocket.accept()


@app.websocket_route("/class")
class Greeter(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: str) -> None:
        await websocket.send_text(f"hello {data}")


made: dict[str, Any] = {"WebSocket": WebSocket}
exec("async def of_nothing(websocket: WebSocket):\n    await websocket.accept()\n    await websocket.receive_text()\n", made)
app.add_api_websocket_route("/exec", made["of_nothing"])


class Seen:
    """What a view of the panel shows now."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end

    def newest(self, what: str) -> Any:
        return next((message[what] for message in reversed(self.front_end.messages) if what in message), [])

    @property
    def marks(self) -> list[dict[str, Any]]:
        return self.newest("marks")

    @property
    def titles(self) -> list[str]:
        return [section["title"] for section in self.newest("sections")]

    def mark(self, text: str) -> dict[str, Any] | None:
        return next((mark for mark in self.marks if mark["text"] == text), None)

    def in_one_look(self, *texts: str) -> list[dict[str, Any]] | None:
        """The marks with these texts, once all of them are shown together: the handler is nowhere else."""
        marks = {mark["text"]: mark for mark in self.marks}
        return [marks[text] for text in texts] if marks.keys() >= set(texts) else None

    def source_of(self, mark: dict[str, Any]) -> str:
        """The source of the line that a mark is on."""
        section = next(section for section in self.newest("sections") if section["key"] == mark["section"])
        return "".join(text for _, text in section["lines"][mark["line"] - section["first"]]).strip()


@pytest.fixture
async def serving() -> AsyncIterator[Server]:
    room.members.clear()
    go_on.clear()
    async with serve(app, port=0, name="handlers") as running:
        yield running
        go_on.set()


async def reading(client: Client) -> None:
    async for _ in client.iter_text():
        pass


async def test_before_anybody_connects_it_shows_every_endpoint_and_says_what_to_do(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    await eventually(lambda: seen.titles)
    assert seen.titles == ["talk", "tasks", "short", "Greeter", "of_nothing", "opened"]
    assert seen.newest("state")["hint"].startswith("Nobody is connected now.")
    assert [section["path"] for section in seen.newest("sections")] == ["/ws/{name}", "/tasks", "/short", "/class", "/exec", ""]


async def test_the_source_is_the_readers_with_its_decorators_and_line_numbers(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving, "/ws/{name}")))
    section = (await eventually(lambda: seen.newest("sections")))[0]
    lines = ["".join(text for _, text in pieces) for pieces in section["lines"]]
    assert lines[0] == '@app.websocket("/ws/{name}")'
    assert section["first"] == talk.__code__.co_firstlineno
    assert ["string", '"/ws/{name}"'] in [list(piece) for piece in section["lines"][0]]
    assert ["keyword", "async"] in [list(piece) for piece in section["lines"][1]]
    assert section["where"] == "test_handler_panel.py"


async def test_it_marks_the_line_that_waits_and_the_dependency_that_stays_open(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/ws/a", name="Ana"):
        mark = await eventually(lambda: seen.mark("Ana's handler waits for a message"))
        assert seen.source_of(mark) == "text = await websocket.receive_text()"
        assert (mark["numbers"], mark["label"], mark["role"]) == ([1], "connection 1, Ana: waits for a message", "here")
        held = seen.mark("this dependency stays open until Ana's handler ends")
        assert seen.source_of(held) == 'yield "open"'
        assert seen.titles == ["talk", "opened"], "only the endpoint that has a connection"


async def test_a_sleep_says_for_how_long_of_what(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/ws/a", name="Ana") as client:
        asked = time.perf_counter() - serving.timeline.began
        await client.send_text("sleep")
        mark = await eventually(lambda: seen.mark("Ana's handler sleeps"))
        assert (seen.source_of(mark), mark["after"]) == ("await asyncio.sleep(30)", " of 30 s")
        assert asked < mark["since"][0] < time.perf_counter() - serving.timeline.began


async def test_a_blocked_loop_is_named_with_whoever_blocks_it(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/ws/a", name="Ana") as client:
        await client.send_text("block")
        mark = await eventually(lambda: seen.mark("Ana's handler runs on this line and blocks everybody"))
        assert seen.source_of(mark).startswith("go_on.wait(60)")
        assert mark["tone"] == "bad"
        assert seen.newest("state")["pill"] == "blocked"
        assert seen.newest("state")["blocked"] == "Nobody is served until Ana lets go of the loop."
        go_on.set()
        await eventually(lambda: seen.newest("state")["pill"] == "serving")
        await eventually(lambda: seen.mark("Ana's handler waits for a message"))


async def test_a_send_that_waits_names_the_client_and_the_way_that_led_there(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/ws/b", name="Ben"), connect(serving, "/ws/a", name="Ana") as ana:
        await eventually(lambda: len(room.members) == 2)
        reader = asyncio.ensure_future(reading(ana))
        await ana.send_text("flood")
        waits = "Ana's handler waits in send_text to Ben: the client does not read"
        through = f"Ana's handler is in Room.broadcast, line {Room.broadcast.__code__.co_firstlineno + 2}"
        mark, outer = await eventually(lambda: seen.in_one_look(waits, through))
        assert (seen.source_of(mark), mark["tone"]) == ("await member.send_text(text)", "warning")
        assert "Room.broadcast" in seen.titles
        assert (seen.source_of(outer), outer["role"]) == ('await room.broadcast("x" * 100_000)', "through")
        reader.cancel()


async def test_an_exception_is_told_on_the_line_that_raised_it(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/ws/a", name="Ana") as client:
        await eventually(lambda: seen.mark("Ana's handler waits for a message"))
        await client.send_text("raise")
        mark = await eventually(lambda: seen.mark("Ana's handler raised ZeroDivisionError: as asked on this line: closed 1006"))
        assert (seen.source_of(mark), mark["role"], mark["tone"]) == ('raise ZeroDivisionError("as asked")', "ended", "bad")


async def test_a_handler_that_has_returned_is_told_to_have_been_last_seen_where_its_mark_is(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/ws/a", name="Ana"):
        waiting = await eventually(lambda: seen.mark("Ana's handler waits for a message"))
    mark = await eventually(lambda: seen.mark("Ana's handler has returned, last seen here: closed 1000"))
    assert seen.source_of(mark) == seen.source_of(waiting)


async def test_a_sentence_of_an_exception_goes_on_without_its_full_stop(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/ws/a", name="Ana") as client:
        await eventually(lambda: seen.mark("Ana's handler waits for a message"))
        await client.send_text("raise a sentence")
        await eventually(lambda: seen.mark("Ana's handler raised ValueError: It is over on this line: closed 1006"))


async def test_a_handler_that_nobody_saw_alive_is_told_at_its_head(serving: Server, show: Show, eventually: Eventually) -> None:
    async with connect(serving, "/short", name="Ana") as client:
        await client.wait_closed()
    seen = Seen(show(HandlerPanel(serving)))
    mark = await eventually(lambda: seen.mark("Ana's handler has returned: closed 1006"))
    assert seen.source_of(mark).startswith("async def short(")


async def test_tasks_that_a_handler_waits_for_have_their_own_sentences(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/tasks", name="Ana"):
        tasks = "a task of Ana's handler waits for a message", "a task of Ana's handler sleeps"
        _, _, sleeping = await eventually(lambda: seen.in_one_look("Ana's handler waits in gather for 2 tasks", *tasks))
        assert sleeping["after"] == " of 30 s"


async def test_a_class_based_endpoint_is_marked_at_its_head_between_its_methods(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/class", name="Ana"):
        mark = await eventually(lambda: seen.mark("Ana's handler waits for a message"))
        assert seen.source_of(mark) == "class Greeter(WebSocketEndpoint):"


async def test_a_handler_without_a_source_is_marked_all_the_same(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    async with connect(serving, "/exec", name="Ana"):
        mark = await eventually(lambda: seen.mark("Ana's handler waits for a message"))
        (section,) = seen.newest("sections")
        assert (section["key"], section["lines"], mark["line"]) == (mark["section"], (), 0)
        assert section["note"].startswith("Python keeps no source for this function")


async def test_many_on_one_line_share_a_sentence(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving)))
    clients = [await connect(serving, "/ws/a", name=f"client {number}") for number in range(20)]
    mark = await eventually(lambda: seen.mark("20 handlers wait for a message"))
    assert (len(mark["numbers"]), mark["more"], len(mark["since"])) == (16, 4, 2)
    for client in clients:
        await client.close()


async def test_a_panel_that_is_shown_late_knows_since_when_a_handler_waits(serving: Server, show: Show, eventually: Eventually) -> None:
    async with connect(serving, "/ws/a", name="Ana"):
        accepted = await eventually(lambda: next((e.at_seconds for e in serving.timeline.entries() if e.details.get("type") == "websocket.accept"), None))
        await eventually(lambda: time.perf_counter() - serving.timeline.began > accepted + 0.3)
        seen = Seen(show(HandlerPanel(serving)))
        mark = await eventually(lambda: seen.mark("Ana's handler waits for a message"))
        assert mark["since"] == [accepted]


async def test_one_route_is_followed_when_it_is_named(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving, "/tasks")))
    async with connect(serving, "/ws/a", name="Ana"), connect(serving, "/tasks", name="Ben"):
        await eventually(lambda: seen.mark("Ben's handler waits in gather for 2 tasks"))
        assert seen.titles == ["tasks"]
        assert {number for mark in seen.marks for number in mark["numbers"]} == {2}


async def test_a_path_without_a_route_is_said(serving: Server, show: Show, eventually: Eventually) -> None:
    seen = Seen(show(HandlerPanel(serving, "/nowhere")))
    await eventually(lambda: "'/nowhere'" in (seen.newest("state") or {"hint": ""})["hint"])


async def test_nothing_is_looked_at_while_nobody_looks(serving: Server, show: Show, eventually: Eventually) -> None:
    panel = HandlerPanel(serving)
    front_end = show(panel)
    await eventually(lambda: Seen(front_end).titles)
    front_end.do("bye")
    watching = panel._watching
    await eventually(lambda: watching.done())
    told = len(front_end.messages)
    async with connect(serving, "/ws/a", name="Ana"):
        await eventually(lambda: room.members)
    assert len(front_end.messages) == told
    again = Seen(show(panel))
    await eventually(lambda: again.titles)


async def test_it_is_told_at_most_ten_times_a_second_and_only_of_changes(serving: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(HandlerPanel(serving))
    seen = Seen(front_end)
    async with connect(serving, "/ws/a", name="Ana") as client:
        await eventually(lambda: seen.mark("Ana's handler waits for a message"))
        before, began = len(front_end.messages), time.monotonic()
        for number in range(1_000):
            await client.send_text(str(number))
        await eventually(lambda: any(entry.ordinal == 1_000 and entry.kind == "asgi-receive" for entry in serving.timeline.entries()))
        assert len(front_end.messages) - before <= 10 * (time.monotonic() - began) + 2
    assert all("sections" not in message for message in front_end.messages[before:]), "the source has not changed"


async def test_its_snapshot_is_static(serving: Server, show: Show, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    panel = HandlerPanel(serving)
    seen = Seen(show(panel))
    async with connect(serving, "/ws/a", name="Ana"):
        await eventually(lambda: seen.mark("Ana's handler waits for a message"))
        panel.snapshot()
    text = shown[0]["text/plain"]
    assert "text = await websocket.receive_text()" in text
    assert "[1] Ana's handler waits for a message" in text
    assert "<script" not in shown[0]["text/html"]


async def test_an_app_that_cannot_be_looked_at_is_said_to_be_so(show: Show, eventually: Eventually) -> None:
    class Odd:
        """An app that does not let its routes be read."""

        @property
        def routes(self) -> list[Any]:
            raise PermissionError("not for you")

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)

    async with serve(Odd(), port=0, name="odd") as server:
        seen = Seen(show(HandlerPanel(server)))
        hint = "This app's handlers cannot be followed: PermissionError: not for you"
        await eventually(lambda: (seen.newest("state") or {}).get("hint") == hint)


def test_anything_but_a_server_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"HandlerPanel expects a server from `await serve"):
        HandlerPanel(app)  # type: ignore[arg-type]


def test_a_stopwatch_starts_anew_when_a_task_moves() -> None:
    stopwatch = Stopwatch()
    first, second = Suspension((), Wait("message"), witness=object()), Suspension((), Wait("message"), witness=object())
    assert [stopwatch.since(1, first, now, 0.5) for now in (1.0, 2.0)] == [0.5, 0.5]
    assert stopwatch.since(1, second, 3.0, 3.0) == 3.0
    stopwatch.forget_the_rest()
    stopwatch.forget_the_rest()
    assert stopwatch.since(1, second, 9.0, 8.0) == 8.0


def test_marks_that_say_the_same_are_told_together_from_the_fourth_on() -> None:
    marks = [Mark(None, "here", number, f"C{number}", f"C{number}'s handler", "waits for a lock", float(number)) for number in range(1, 5)]
    assert [row["text"] for row in grouped(marks[:3], lambda _: ("", 1))] == [f"C{number}'s handler waits for a lock" for number in (1, 2, 3)]
    (row,) = grouped(marks, lambda _: ("", 1))
    assert (row["text"], row["since"], row["numbers"]) == ("4 handlers wait for a lock", [1.0, 4.0], [1, 2, 3, 4])


async def test_its_snapshot_has_no_secret_that_an_error_says(serving: Server, show: Show, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    panel = HandlerPanel(serving)
    seen = Seen(show(panel))
    async with connect(serving, "/ws/a", name="Ana") as client:
        await client.send_text("reveal")
        await eventually(lambda: any("token=spring-rain" in mark["text"] for mark in seen.marks))
    panel.snapshot()
    assert "token=[redacted]" in shown[0]["text/plain"]
    assert "token=spring-rain" not in "".join(shown[0].values())

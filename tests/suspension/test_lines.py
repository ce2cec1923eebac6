"""The line on which a handler is suspended, in every kind of handler, over a real server with a real client."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from kit import Client, Server, connect, serve
from kit.listing import code_of
from kit.loops import thread_frames
from kit.suspension import Suspension, connection_of, suspension_of, tasks_by_connection
from kit.waiting import Wait, count_of, kind_of, plural, words_for
from tests.suspension.handlers import Eventually, let_go, room
from tests.suspension.looking import comes_to, look, said, settled

WAITING = [
    ("/loop", ["the loop's line"], "receive_text", "waits for a message"),
    ("/finally", ["the finally's line"], "sleep", "sleeps"),
    ("/except", ["the retry's line"], "sleep", "sleeps"),
    ("/nested", ["the outer line", "the nested line"], "receive_text", "waits for a message"),
    ("/dependency/open", ["while both stay open"], "receive_text", "waits for a message"),
    ("/generator", ["the generator's user", "in the generator"], "sleep", "sleeps"),
    ("/async-for", ["the line of the async for"], "iter_text", "waits for a message"),
    ("/task-group", ["the group's line"], "TaskGroup", "waits for 2 tasks of its TaskGroup"),
    ("/anyio-task-group", ["the anyio group's line"], "TaskGroup", "waits for 2 tasks of its TaskGroup"),
    ("/gather", ["the gathering line"], "gather", "waits in gather for 2 tasks"),
    ("/wait", ["the waiting line"], "wait", "waits in wait for 2 tasks"),
    ("/wait-for", ["the line with a limit"], "wait_for", "waits at most 20 s for a message"),
    ("/wait-for-own", ["the line that limits", "the limited line"], "receive_text", "waits at most 20 s for a message"),
    ("/wait-for-sleep", ["the limited sleep's line"], "wait_for", "sleeps"),
    ("/wait-for-gather", ["the limited gathering's line"], "wait_for", "waits in wait_for for 2 tasks"),
    ("/wait-for-wait", ["the limited waiting's line"], "wait_for", "waits in wait_for for 2 tasks"),
    ("/wait-for-shield", ["the line that limits and shields", "the limited, shielded line"], "sleep", "sleeps"),
    ("/as-completed", ["the earliest one's line"], "as_completed", "waits in as_completed for 2 tasks"),
    ("/task", ["the line that awaits it", "the awaited task's line"], "sleep", "sleeps"),
    ("/shield", ["the line that shields", "the shielded line"], "sleep", "sleeps"),
    ("/beside", ["beside the pump"], "receive_text", "waits for a message"),
    ("/threadpool", ["the pool's line", "in the thread"], "run_in_threadpool", "runs on this line, in a thread"),
    ("/to-thread", ["the thread's line", "in the thread"], "to_thread", "runs on this line, in a thread"),
    ("/executor", ["the executor's line", "in the thread"], "Future", "runs on this line, in a thread"),
    ("/thread-in-c", ["nothing of the reader's in the thread"], "to_thread", "waits for wait() in a thread"),
    ("/queue", ["the queue's line"], "get", "waits for an item of a queue"),
    ("/queue-full", ["the full queue's line"], "put", "waits for room in a full queue"),
    ("/lock", ["the lock's line"], "acquire", "waits for a lock"),
    ("/semaphore", ["the semaphore's line"], "acquire", "waits for a place at a semaphore"),
    ("/event", ["the event's line"], "wait", "waits for an event"),
    ("/condition", ["the condition's line"], "wait", "waits for a condition"),
    ("/future", ["the future's line"], "Future", "waits for a future"),
    ("/opaque", ["where Python hides the rest"], "Waiting", "waits in Waiting, where Python hides its frames"),
    ("/decorated", ["the decorator's line", "the decorated line"], "receive_text", "waits for a message"),
    ("/partial", ["the partial's line"], "receive_text", "waits for a message"),
]
if sys.version_info >= (3, 13):  # where as_completed is an asynchronous iterator, too
    WAITING.append(("/as-completed-async-for", ["the line of each one"], "as_completed", "waits in as_completed for 2 tasks"))


@pytest.mark.parametrize(("path", "lines", "call", "words"), WAITING, ids=[path for path, *_ in WAITING])
async def test_a_handler_is_found_on_its_line_in_its_call(server: Server, path: str, lines: list[str], call: str, words: str) -> None:
    async with connect(server, path) as client:

        def now() -> object:
            found = look(client, server)
            return found and ([said(line) for line in found[0].lines], found[0].wait.call, words_for(found[0].wait))

        await comes_to((lines, call, words), now)


LIMITS = [
    ("/wait-for", "the line with a limit", 20),
    ("/wait-for-own", "the limited line", 20),
    ("/wait-for-sleep", "the limited sleep's line", 30),
    ("/wait-for-wait", "the limited waiting's line", 20),
    ("/loop", "the loop's line", None),
]


@pytest.mark.parametrize(("path", "line", "limit_seconds"), LIMITS)
async def test_the_innermost_limit_is_told(server: Server, eventually: Eventually, path: str, line: str, limit_seconds: float | None) -> None:
    """... also one that is set around a line of the reader's."""
    async with connect(server, path) as client:

        def waits() -> Suspension | None:
            not_yet = ("runs", "ready", "begins")
            return next((found for found in look(client, server) if found.lines and said(found.lines[-1]) == line and found.wait.kind not in not_yet), None)

        suspension = await eventually(waits)
        assert suspension.wait.limit_seconds == limit_seconds


@pytest.mark.parametrize(
    ("path", "line", "words"),
    [
        ("/dependency", "the dependency's line", "sleeps"),
        ("/dependency/yielding", "before the dependency's yield", "sleeps"),
        ("/dependency/sync", "the plain dependency's line", "runs on this line, in a thread"),
    ],
)
async def test_a_dependency_is_found_on_its_line_before_the_handler_begins(server: Server, eventually: Eventually, path: str, line: str, words: str) -> None:
    connecting = asyncio.ensure_future(_connected(server, path))
    connection = await eventually(lambda: next((known for known in server.timeline.connections if known.handler_task), None))

    def there() -> Suspension | None:
        task = connection.handler_task
        found = suspension_of(task, connection=connection, threads=thread_frames) if task is not None else None
        return found if found and found.lines and said(found.lines[-1]) == line else None

    assert words_for((await eventually(there)).wait) == words
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)


async def _connected(server: Server, path: str) -> None:
    async with connect(server, path):
        pass


@pytest.mark.parametrize(
    ("path", "branches"),
    [
        ("/task-group", {("the listening task", "waits for a message"), ("the ticking task", "sleeps")}),
        ("/anyio-task-group", {("the ticking task of anyio", "sleeps"), ("the anyio group's line", "waits for a message")}),
        ("/gather", {("the gathering line", "waits for a message"), ("the gathering line", "sleeps")}),
        ("/wait", {("the waiting line", "waits for a message"), ("the waiting line", "sleeps")}),
        ("/wait-for-gather", {("the limited gathering's line", "waits for a message"), ("the limited gathering's line", "sleeps")}),
        ("/wait-for-wait", {("the limited waiting's line", "waits for a message"), ("the limited waiting's line", "sleeps")}),
        ("/as-completed", {("the earliest one's line", "waits for a message"), ("the earliest one's line", "sleeps")}),
    ],
)
async def test_each_task_that_is_waited_for_has_a_line_of_its_own(server: Server, path: str, branches: set[tuple[str, str]]) -> None:
    async with connect(server, path) as client:

        def now() -> object:
            found = look(client, server)
            return [{(said(branch.lines[-1]), words_for(branch.wait)) for branch in each.branches if branch.lines} for each in found if each.lines]

        await comes_to([branches], now)


async def test_a_task_that_nobody_waits_for_is_found_by_its_context(server: Server) -> None:
    async with connect(server, "/beside") as client:
        beside = [(["beside the pump"], "waits for a message"), (["the pump's line"], "waits for an item of a queue")]
        await comes_to(beside, lambda: [([said(line) for line in found.lines], words_for(found.wait)) for found in look(client, server)])
        task = client.connection.handler_task
        assert {connection_of(other) for other in tasks_by_connection(task.get_loop())[client.connection]} == {client.connection}


async def test_dependencies_stay_open_at_their_yield_while_the_handler_runs(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/dependency/open") as client:
        suspension, *_ = await settled(client, server, eventually, "while both stay open")
        assert [said(line) for line in suspension.held] == ["the asynchronous yield", "the plain yield"]


async def test_a_class_based_endpoint_waits_between_its_methods_and_is_found_within_them(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/class") as client:
        between = await eventually(lambda: next((found for found in look(client, server) if found.wait.kind == "message"), None))
        assert between.lines == ()
        await client.send_text("hello")
        within, *_ = await settled(client, server, eventually, "the method's line")
        assert words_for(within.wait) == "sleeps"


async def test_a_send_to_a_client_that_does_not_read_says_so(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/stalled") as client:
        await eventually(lambda: any(found.wait.kind == "send" for found in look(client, server)))
        suspension, *_ = await settled(client, server, eventually, "the line that sends")
        assert words_for(suspension.wait) == "waits in send_bytes: the client does not read"


async def test_a_broadcast_that_waits_for_another_client_names_it(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/room", name="Ben"), connect(server, "/room", name="Ana") as ana:
        await eventually(lambda: len(room.members) == 2)
        reading = asyncio.ensure_future(_read_everything(ana))
        await ana.send_text("flood")

        def waiting() -> Suspension | None:
            return next((found for found in look(ana, server) if found.wait.peer == "Ben"), None)

        suspension = await eventually(waiting)
        assert [said(line) for line in suspension.lines] == ["the line that broadcasts", "the broadcast's line"]
        assert words_for(suspension.wait) == "waits in send_text to Ben: the client does not read"
        reading.cancel()


async def _read_everything(client: Client) -> None:
    async for _ in client.iter_text():
        pass


async def test_a_handler_that_blocks_the_loop_is_found_on_the_line_that_it_runs(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/blocking") as client:
        await client.send_text("go")
        suspension, *_ = await settled(client, server, eventually, "the line that blocks", running=True)
        assert words_for(suspension.wait) == "runs on this line"
        found = await eventually(lambda: server.blocked)
        assert found.connection == client.number
        let_go.set()


async def test_a_handler_whose_client_has_left_is_still_found(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/leaving") as client:
        await client.close()
        suspension, *_ = await settled(client, server, eventually, "after the client has left")
        assert words_for(suspension.wait) == "sleeps"


async def test_the_witness_tells_one_call_from_the_next_on_the_same_line(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/loop") as client:
        first, *_ = await settled(client, server, eventually, "the loop's line")
        again, *_ = look(client, server)
        assert again.witness is first.witness
        await client.send_text("hello")
        await client.receive_text(timeout=5)
        await eventually(lambda: first.witness() is None)
        later, *_ = await settled(client, server, eventually, "the loop's line")
        assert later.witness is not first.witness


async def test_a_handler_that_has_ended_has_no_task(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/loop") as client:
        await eventually(lambda: client.connection.handler_task)
    await eventually(lambda: client.connection.handler_task is None)


async def test_looking_while_a_handler_runs_at_full_speed_never_fails(server: Server, eventually: Eventually) -> None:
    async with connect(server, "/loop") as client:
        await settled(client, server, eventually, "the loop's line")
        seen: set[str] = set()
        for number in range(300):
            await client.send_text(str(number))
            seen |= {said(found.lines[-1]) for found in look(client, server) if found.lines}
            await client.receive_text(timeout=5)
        assert "the loop's line" in seen


async def test_code_without_a_file_is_the_readers_when_it_is_said_to_be(eventually: Eventually) -> None:
    made: dict[str, Any] = {}
    exec("async def handler(websocket):\n    await websocket.accept()\n    await websocket.receive_text()\n", made)
    own = Starlette(routes=[WebSocketRoute("/ws", made["handler"])])
    async with serve(own, port=0, name="own") as server, connect(server, "/ws") as client:
        task = await eventually(lambda: client.connection.handler_task)
        await eventually(lambda: suspension_of(task, connection=client.connection).wait.kind == "message")
        assert suspension_of(task, connection=client.connection).lines == ()
        (line,) = suspension_of(task, connection=client.connection, own={code_of(made["handler"])}).lines
        assert line.number == 3


def test_what_a_call_waits_for_is_known_by_its_module_and_name() -> None:
    assert kind_of("asyncio.queues", "Queue.get") == "queue-get"
    assert kind_of("mine.queues", "Queue.get") is None


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (Wait("message", peer="Ben"), "waits for a message from Ben"),
        (Wait("lock", limit_seconds=0.5), "waits at most 0.5 s for a lock"),
        (Wait("task-group", tasks=1), "waits for 1 task of its TaskGroup"),
        (Wait("other", "execute"), "waits in execute"),
        (Wait("thread"), "waits for a function in a thread"),
    ],
)
def test_words_say_what_it_waits_for(wait: Wait, words: str) -> None:
    assert words_for(wait) == words


def test_several_handlers_do_the_same_in_the_plural() -> None:
    assert [plural(words) for words in ("waits for a lock", "sleeps", "is about to begin")] == ["wait for a lock", "sleep", "are about to begin"]
    assert [count_of(1, "task"), count_of(2, "task")] == ["1 task", "2 tasks"]

"""Every kind of handler, each with a line on which it waits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
from fastapi import Depends, FastAPI, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.endpoints import WebSocketEndpoint

Eventually = Callable[..., Any]

app = FastAPI()
let_go = threading.Event()  # what is done in threads waits for it


@app.websocket("/loop")
async def loop(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        text = await websocket.receive_text()  # the loop's line
        await websocket.send_text(text)


@app.websocket("/finally")
async def in_finally(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        raise ValueError
    except ValueError:
        await asyncio.sleep(0)
    finally:
        await asyncio.sleep(30)  # the finally's line


@app.websocket("/except")
async def in_except(websocket: WebSocket) -> None:
    await websocket.accept()
    for _attempt in range(3):
        try:
            raise ConnectionError
        except ConnectionError:
            await asyncio.sleep(30)  # the retry's line


@app.websocket("/nested")
async def nested(websocket: WebSocket) -> None:
    async def inner() -> str:
        return await websocket.receive_text()  # the nested line

    await websocket.accept()
    await inner()  # the outer line


class Room:
    """What a reader's own class does for a handler."""

    def __init__(self) -> None:
        self.members: list[WebSocket] = []

    async def broadcast(self, text: str) -> None:
        for member in self.members:
            await member.send_text(text)  # the broadcast's line


room = Room()


@app.websocket("/room")
async def in_room(websocket: WebSocket) -> None:
    await websocket.accept()
    room.members.append(websocket)
    try:
        while (text := await websocket.receive_text()) != "flood":
            await websocket.send_text(text)
        while True:
            await room.broadcast("x" * 100_000)  # the line that broadcasts
    finally:
        room.members.remove(websocket)


async def slow_dependency() -> int:
    await asyncio.sleep(30)  # the dependency's line
    return 1


@app.websocket("/dependency")
async def depends(websocket: WebSocket, one: int = Depends(slow_dependency)) -> None:
    await websocket.accept()


async def slow_yielding_dependency() -> AsyncIterator[int]:
    await asyncio.sleep(30)  # before the dependency's yield
    yield 1


@app.websocket("/dependency/yielding")
async def depends_on_yielding(websocket: WebSocket, one: int = Depends(slow_yielding_dependency)) -> None:
    await websocket.accept()


async def open_dependency() -> AsyncIterator[int]:
    yield 1  # the asynchronous yield


def open_sync_dependency() -> Iterator[int]:
    yield 2  # the plain yield


@app.websocket("/dependency/open")
async def holds_open(websocket: WebSocket, one: int = Depends(open_dependency), two: int = Depends(open_sync_dependency)) -> None:
    await websocket.accept()
    await websocket.receive_text()  # while both stay open


def sync_dependency() -> int:
    let_go.wait(20)  # the plain dependency's line
    return 1


@app.websocket("/dependency/sync")
async def depends_on_sync(websocket: WebSocket, one: int = Depends(sync_dependency)) -> None:
    await websocket.accept()


async def numbers() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(30)  # in the generator
    yield 2


@app.websocket("/generator")
async def generator(websocket: WebSocket) -> None:
    await websocket.accept()
    async for number in numbers():  # the generator's user
        await websocket.send_json(number)


@app.websocket("/async-for")
async def async_for(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():  # the line of the async for
        await websocket.send_text(text)


@app.websocket("/task-group")
async def task_group(websocket: WebSocket) -> None:
    async def listen() -> None:
        await websocket.receive_text()  # the listening task

    async def tick() -> None:
        await asyncio.sleep(30)  # the ticking task

    await websocket.accept()
    async with asyncio.TaskGroup() as group:  # the group's line
        group.create_task(listen())
        group.create_task(tick())


@app.websocket("/anyio-task-group")
async def anyio_task_group(websocket: WebSocket) -> None:
    async def tick() -> None:
        await anyio.sleep(30)  # the ticking task of anyio

    await websocket.accept()
    async with anyio.create_task_group() as group:  # the anyio group's line
        group.start_soon(tick)
        group.start_soon(websocket.receive_text)


@app.websocket("/gather")
async def gather(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.gather(websocket.receive_text(), asyncio.sleep(30))  # the gathering line


@app.websocket("/wait")
async def wait(websocket: WebSocket) -> None:
    await websocket.accept()
    tasks = [asyncio.create_task(websocket.receive_text()), asyncio.create_task(asyncio.sleep(30))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # the waiting line


@app.websocket("/wait-for")
async def wait_for(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.wait_for(websocket.receive_text(), 20)  # the line with a limit


@app.websocket("/wait-for-own")
async def wait_for_own(websocket: WebSocket) -> None:
    async def answer() -> str:
        return await websocket.receive_text()  # the limited line

    await websocket.accept()
    await asyncio.wait_for(answer(), 20)  # the line that limits


@app.websocket("/wait-for-sleep")
async def wait_for_sleep(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.wait_for(asyncio.sleep(30), 20)  # the limited sleep's line


@app.websocket("/wait-for-gather")
async def wait_for_gather(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.wait_for(asyncio.gather(websocket.receive_text(), asyncio.sleep(30)), 20)  # the limited gathering's line


@app.websocket("/wait-for-wait")
async def wait_for_wait(websocket: WebSocket) -> None:
    await websocket.accept()
    tasks = [asyncio.create_task(websocket.receive_text()), asyncio.create_task(asyncio.sleep(30))]
    await asyncio.wait_for(asyncio.wait(tasks), 20)  # the limited waiting's line


@app.websocket("/wait-for-shield")
async def wait_for_shield(websocket: WebSocket) -> None:
    async def work() -> None:
        await asyncio.sleep(30)  # the limited, shielded line

    await websocket.accept()
    await asyncio.wait_for(asyncio.shield(work()), 20)  # the line that limits and shields


@app.websocket("/as-completed")
async def as_completed(websocket: WebSocket) -> None:
    await websocket.accept()
    for earliest in asyncio.as_completed([websocket.receive_text(), asyncio.sleep(30)]):
        await earliest  # the earliest one's line


@app.websocket("/as-completed-async-for")
async def as_completed_async_for(websocket: WebSocket) -> None:
    await websocket.accept()
    async for _ in asyncio.as_completed([websocket.receive_text(), asyncio.sleep(30)]):  # the line of each one
        pass


@app.websocket("/task")
async def awaited_task(websocket: WebSocket) -> None:
    async def work() -> None:
        await asyncio.sleep(30)  # the awaited task's line

    await websocket.accept()
    await asyncio.create_task(work())  # the line that awaits it


@app.websocket("/shield")
async def shielded(websocket: WebSocket) -> None:
    async def work() -> None:
        await asyncio.sleep(30)  # the shielded line

    await websocket.accept()
    await asyncio.shield(work())  # the line that shields


@app.websocket("/beside")
async def beside(websocket: WebSocket) -> None:
    async def pump(queue: asyncio.Queue[str]) -> None:
        await websocket.send_text(await queue.get())  # the pump's line

    await websocket.accept()
    pumping = asyncio.create_task(pump(asyncio.Queue()))
    with contextlib.suppress(Exception):
        await websocket.receive_text()  # beside the pump
    pumping.cancel()


def work_in_thread(seconds: float) -> None:
    let_go.wait(seconds)  # in the thread


@app.websocket("/threadpool")
async def threadpool(websocket: WebSocket) -> None:
    await websocket.accept()
    await run_in_threadpool(work_in_thread, 20)  # the pool's line


@app.websocket("/to-thread")
async def to_thread(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.to_thread(work_in_thread, 20)  # the thread's line


@app.websocket("/executor")
async def executor(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.get_running_loop().run_in_executor(None, work_in_thread, 20)  # the executor's line


@app.websocket("/thread-in-c")
async def thread_in_c(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.to_thread(let_go.wait, 20)  # nothing of the reader's in the thread


@app.websocket("/queue")
async def queue(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.Queue().get()  # the queue's line


@app.websocket("/queue-full")
async def queue_full(websocket: WebSocket) -> None:
    await websocket.accept()
    full: asyncio.Queue[int] = asyncio.Queue(1)
    for number in range(2):
        await full.put(number)  # the full queue's line


@app.websocket("/lock")
async def lock(websocket: WebSocket) -> None:
    await websocket.accept()
    taken = asyncio.Lock()
    await taken.acquire()
    async with taken:  # the lock's line
        pass


@app.websocket("/semaphore")
async def semaphore(websocket: WebSocket) -> None:
    await websocket.accept()
    async with asyncio.Semaphore(0):  # the semaphore's line
        pass


@app.websocket("/event")
async def event(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.Event().wait()  # the event's line


@app.websocket("/condition")
async def condition(websocket: WebSocket) -> None:
    await websocket.accept()
    async with (ready := asyncio.Condition()):
        await ready.wait()  # the condition's line


@app.websocket("/future")
async def future(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.get_running_loop().create_future()  # the future's line


class Opaque:
    """An awaitable that keeps what it waits for to itself, as those written in C do."""

    def __await__(self) -> Any:
        return iter(Waiting(asyncio.get_running_loop().create_future()))


class Waiting:
    def __init__(self, waited_for: asyncio.Future[None]) -> None:
        self._inner = waited_for.__await__()

    def __iter__(self) -> Waiting:
        return self

    def __next__(self) -> Any:
        return next(self._inner)


@app.websocket("/opaque")
async def opaque(websocket: WebSocket) -> None:
    await websocket.accept()
    await Opaque()  # where Python hides the rest


def logged(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(function)
    async def wrapper(*arguments: Any, **named: Any) -> None:
        await function(*arguments, **named)  # the decorator's line

    return wrapper


@app.websocket("/decorated")
@logged
async def decorated(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()  # the decorated line


async def with_room(name: str, websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()  # the partial's line


app.add_api_websocket_route("/partial", functools.partial(with_room, "blue"))


@app.websocket_route("/class")
class Greeter(WebSocketEndpoint):
    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await asyncio.sleep(30)  # the method's line


@app.websocket("/blocking")
async def blocking(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()
    let_go.wait(20)  # the line that blocks


@app.websocket("/stalled")
async def stalled(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_bytes(bytes(100_000))  # the line that sends


@app.websocket("/leaving")
async def leaving(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.receive_text()
    finally:
        await asyncio.sleep(30)  # after the client has left

"""Loops in threads of their own, the hops between them, and the mailbox that loses nothing."""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kit import loops
from kit.errors import LoopStopped
from kit.loops import LoopThread, Mailbox, current_loop, new_event_loop, run_on


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    loop_thread = LoopThread("kit-test")
    yield loop_thread
    loop_thread.stop()
    assert loop_thread.join(5.0)


async def here() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_uvloop_is_used_where_it_exists() -> None:
    loop = new_event_loop()
    uvloop = pytest.importorskip("uvloop")
    assert isinstance(loop, uvloop.Loop)
    loop.close()


def test_without_uvloop_asyncios_own_loop_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = new_event_loop()
    assert type(loop).__module__.startswith("asyncio")
    loop.close()


async def test_the_current_loop_is_known_inside_and_none_outside() -> None:
    assert current_loop() is asyncio.get_running_loop()
    assert await asyncio.to_thread(current_loop) is None


async def test_a_coroutine_runs_on_the_threads_loop_and_gives_its_result(thread: LoopThread) -> None:
    assert await thread.run(here()) is thread.loop
    assert await run_on(thread.loop, here()) is thread.loop
    assert await run_on(asyncio.get_running_loop(), here()) is asyncio.get_running_loop()


async def test_exceptions_pass_the_hop_unchanged(thread: LoopThread) -> None:
    error = ValueError("from afar")

    async def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="from afar") as raised:
        await thread.run(fail())
    assert raised.value is error


@pytest.mark.parametrize("exit_request", [SystemExit(3), KeyboardInterrupt()])
async def test_an_exit_request_ends_the_call_and_not_the_loop(thread: LoopThread, exit_request: BaseException) -> None:
    async def leave() -> None:
        raise exit_request

    with pytest.raises(RuntimeError, match="ends this call only"):
        await thread.run(leave())
    assert await thread.run(here()) is thread.loop


async def test_cancelling_the_caller_cancels_the_coroutine(thread: LoopThread) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def wait_for_ever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(thread.run(wait_for_ever()))
    assert await asyncio.to_thread(started.wait, 5.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(cancelled.wait, 5.0)


async def test_a_timeout_of_the_caller_is_a_timeout(thread: LoopThread) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await thread.run(asyncio.sleep(60))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(thread.run(asyncio.sleep(60)), 0.02)


async def test_a_call_to_a_loop_that_has_ended_says_so() -> None:
    thread = LoopThread("kit-test")
    thread.stop()
    await thread.ended()
    with pytest.raises(LoopStopped):
        await thread.run(here())
    thread.call_soon(print)  # does nothing, and says nothing
    thread.stop()


async def test_a_call_that_is_under_way_when_the_loop_ends_says_so() -> None:
    thread = LoopThread("kit-test")
    started = threading.Event()

    async def wait_for_ever() -> None:
        started.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(thread.run(wait_for_ever()))
    assert await asyncio.to_thread(started.wait, 5.0)
    thread.stop()
    with pytest.raises(LoopStopped):
        await asyncio.wait_for(call, 5.0)
    await thread.ended()


async def test_stopping_cancels_every_task_and_closes_the_loop() -> None:
    thread = LoopThread("kit-test")
    started, cleaned = threading.Event(), threading.Event()

    async def with_cleanup() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    thread.submit(with_cleanup())
    assert await asyncio.to_thread(started.wait, 5.0)
    thread.stop()
    await asyncio.wait_for(thread.ended(), 5.0)
    assert cleaned.is_set()
    assert thread.join(5.0)
    assert thread.loop.is_closed()
    assert not thread.alive


async def test_a_task_that_refuses_to_be_cancelled_does_not_hold_up_the_end() -> None:
    thread = LoopThread("kit-test")
    started = threading.Event()

    async def stubborn() -> None:
        started.set()
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    thread.submit(stubborn())
    assert await asyncio.to_thread(started.wait, 5.0)
    thread.stop()
    await asyncio.wait_for(thread.ended(), 5.0)


async def test_a_thread_that_blocks_can_be_looked_at_and_interrupted(thread: LoopThread, eventually: Callable) -> None:
    class Interrupted(BaseException):
        pass

    async def block() -> str:
        try:
            while True:
                pass
        except Interrupted:
            return "interrupted"

    call = asyncio.create_task(thread.run(block()))
    await eventually(lambda: thread.frame() is not None and thread.frame().f_code.co_name == "block")
    thread.interrupt(Interrupted)
    assert await asyncio.wait_for(call, 5.0) == "interrupted"


async def test_an_interrupt_between_two_callbacks_does_not_end_the_loop(thread: LoopThread) -> None:
    """The code that it was meant for may have ended just before: then it strikes whatever runs next, here an empty callback."""

    class Interrupted(BaseException):
        pass

    for _ in range(10):
        thread.interrupt(Interrupted)
        thread.call_soon(lambda: None)
        thread.call_soon(lambda: None)
        assert await asyncio.wait_for(thread.run(here()), 5.0) is thread.loop
    assert thread.alive


async def test_when_a_thread_has_ended_whoever_asked_is_told_even_afterwards() -> None:
    thread = LoopThread("kit-test")
    told: list[str] = []
    thread.when_ended(lambda: told.append("before"))
    thread.stop()
    await thread.ended()
    thread.when_ended(lambda: told.append("after"))
    assert told == ["before", "after"]


async def test_the_shared_loops_start_when_needed_and_again_after_they_were_stopped() -> None:
    first = loops.background()
    assert loops.background() is first
    assert loops.panels() is not first
    loops.stop_shared_loops()
    assert not first.alive
    second = loops.background()
    assert second is not first
    assert await second.run(here()) is second.loop


async def test_many_threads_that_ask_at_once_get_the_same_shared_loop() -> None:
    loops.stop_shared_loops()
    together = threading.Barrier(4, timeout=5.0)

    def ask() -> LoopThread:
        together.wait()
        return loops.background()

    found = await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))
    assert len(set(found)) == 1


# The mailbox.


async def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    box: Mailbox[int] = Mailbox()
    box.put([1, 2])
    box.put([3])
    assert len(box) == 3
    assert [await box.get() for _ in range(3)] == [1, 2, 3]
    assert len(box) == 0


async def test_peeking_takes_nothing() -> None:
    box: Mailbox[int] = Mailbox()
    box.put([1])
    assert [await box.peek(), await box.peek(), len(box)] == [1, 1, 1]
    assert box.take() == 1
    with pytest.raises(IndexError):
        box.take()


async def test_a_waiter_is_woken_from_another_thread() -> None:
    box: Mailbox[str] = Mailbox()
    waiting = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    await asyncio.to_thread(box.put, ["from a thread"])
    assert await asyncio.wait_for(waiting, 5.0) == "from a thread"


async def test_one_batch_serves_every_waiter() -> None:
    box: Mailbox[int] = Mailbox()
    waiting = [asyncio.create_task(box.get()) for _ in range(5)]
    await asyncio.sleep(0)
    box.put(range(5))
    assert sorted(await asyncio.wait_for(asyncio.gather(*waiting), 5.0)) == [0, 1, 2, 3, 4]


async def test_closing_lets_waiters_take_what_is_left_and_then_says_that_nothing_comes() -> None:
    box: Mailbox[int] = Mailbox()
    waiting = [asyncio.create_task(box.get()) for _ in range(3)]
    await asyncio.sleep(0)
    box.put([1])
    box.close()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5.0)
    assert results[0] == 1
    assert [type(result) for result in results[1:]] == [EOFError, EOFError]
    assert box.closed
    with pytest.raises(EOFError):
        await box.get()


async def test_a_cancelled_waiter_leaves_the_item_to_the_next_one() -> None:
    """It was woken and cancelled in the same turn: the wake-up must go to the other waiter."""
    box: Mailbox[int] = Mailbox()
    first, second = asyncio.create_task(box.get()), asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put([1])
    first.cancel()
    assert await asyncio.wait_for(second, 5.0) == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_waiter_whose_loop_has_ended_does_not_swallow_the_wake_up() -> None:
    box: Mailbox[int] = Mailbox()

    def wait_on_a_loop_that_is_closed_meanwhile() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(box.get())
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False
        loop.close()

    await asyncio.to_thread(wait_on_a_loop_that_is_closed_meanwhile)
    living = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put([1])
    assert await asyncio.wait_for(living, 5.0) == 1


async def test_takers_of_several_loops_that_time_out_at_random_lose_and_repeat_nothing() -> None:
    box: Mailbox[int] = Mailbox()
    count = 5_000

    async def take_until_closed(seed: int) -> tuple[list[int], int]:
        chance, taken, timeouts = random.Random(seed), [], 0
        while True:
            try:
                async with asyncio.timeout(chance.random() * 0.0005):
                    taken.append(await box.get())
            except TimeoutError:
                timeouts += 1
            except EOFError:
                return taken, timeouts

    def put_in_bursts() -> None:
        chance, number = random.Random(1), 0
        while number < count:
            burst = min(chance.randrange(1, 20), count - number)
            box.put(range(number, number + burst))
            number += burst
            time.sleep(chance.random() * 0.0005)  # the rhythm of a sender, not a wait for anything
        box.close()

    takers = [asyncio.to_thread(asyncio.run, take_until_closed(seed)) for seed in range(2)]
    *results, _ = await asyncio.gather(take_until_closed(9), *takers, asyncio.to_thread(put_in_bursts))
    results = results[:3]
    assert sorted(number for taken, _ in results for number in taken) == list(range(count))
    assert all(taken == sorted(taken) for taken, _ in results)
    assert sum(timeouts for _, timeouts in results) > 0


async def test_while_panels_work_others_have_the_interpreter_sooner_and_afterwards_all_is_as_before() -> None:
    usual = sys.getswitchinterval()

    async def work(entered: asyncio.Event, go_on: asyncio.Event) -> None:
        with loops.giving_way():
            entered.set()
            await go_on.wait()

    entered, go_on = [asyncio.Event(), asyncio.Event()], [asyncio.Event(), asyncio.Event()]
    tasks = [asyncio.create_task(work(*events)) for events in zip(entered, go_on, strict=True)]
    for event in entered:
        await event.wait()
    assert sys.getswitchinterval() <= usual / 5
    for task, event in zip(tasks, go_on, strict=True):
        assert sys.getswitchinterval() <= usual / 5, "the other still works"
        event.set()
        await task
    assert sys.getswitchinterval() == usual


async def test_calls_in_worker_threads_wait_for_a_place_and_never_take_more_than_32_threads() -> None:
    thread, may_go = LoopThread("kit-test"), threading.Event()

    def work() -> int:
        assert may_go.wait(20.0)
        return sum(each.name == "kit-test-worker" for each in threading.enumerate())

    async def all_of_them() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(None, work) for _ in range(200)]
        may_go.set()
        return await asyncio.gather(*calls)

    threads = await asyncio.wait_for(thread.run(all_of_them()), 30.0)
    assert (len(threads), max(threads) <= 32) == (200, True)
    thread.stop()
    assert thread.join(5.0)


async def test_what_a_call_sets_in_its_context_is_not_there_for_the_next_one_in_the_same_thread() -> None:
    thread, mark = LoopThread("kit-test"), contextvars.ContextVar("mark", default="none")

    def look_and_set(number: int) -> str:
        seen = mark.get()
        mark.set(str(number))
        return seen

    async def many() -> list[str]:
        return await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(None, look_and_set, number) for number in range(100)))

    assert set(await thread.run(many())) == {"none"}
    thread.stop()
    assert thread.join(5.0)


async def test_calls_that_wait_for_a_worker_thread_are_cancelled_when_the_loop_ends() -> None:
    thread, may_go, begun = LoopThread("kit-test"), threading.Event(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        may_go.wait(20.0)

    async def start_them() -> list[asyncio.Future[None]]:
        return [asyncio.get_running_loop().run_in_executor(None, work) for _ in range(40)]

    calls = await thread.run(start_them())
    for _ in range(32):
        assert await asyncio.to_thread(begun.acquire, timeout=10.0)
    thread.stop()
    assert thread.join(5.0)
    may_go.set()
    for worker in [each for each in threading.enumerate() if each.name == "kit-test-worker"]:
        worker.join(10.0)
    assert not begun.acquire(blocking=False), f"more than 32 of {len(calls)} calls have begun"

"""What a suspended call waits for, found by the names of the functions it is in, and said in words. Pure."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Wait", "count_of", "kind_of", "plural", "words_for"]

# What a library's function waits for, by the first part of its module's name and its qualified name.
_KINDS = {
    **dict.fromkeys([("asyncio", "sleep"), ("anyio", "sleep"), ("anyio", "sleep_until"), ("anyio", "sleep_forever")], "sleep"),
    ("asyncio", "Queue.get"): "queue-get",
    ("asyncio", "Queue.put"): "queue-put",
    ("asyncio", "Queue.join"): "queue-join",
    ("asyncio", "Lock.acquire"): "lock",
    ("asyncio", "Semaphore.acquire"): "semaphore",
    ("asyncio", "Condition.wait"): "condition",
    ("asyncio", "Event.wait"): "event",
    ("asyncio", "Barrier.wait"): "barrier",
    **dict.fromkeys([("asyncio", "TaskGroup.__aexit__"), ("anyio", "TaskGroup.__aexit__")], "task-group"),
    **dict.fromkeys([("asyncio", "wait"), ("asyncio", "_wait")], "tasks"),
    **dict.fromkeys([("asyncio", "as_completed.<locals>._wait_for_one"), ("asyncio", "_AsCompletedIterator._wait_for_one")], "tasks"),
    **dict.fromkeys([("asyncio", "to_thread"), ("anyio", "run_sync"), ("anyio", "AsyncIOBackend.run_sync_in_worker_thread")], "thread"),
}

_WORDS = {
    "message": "waits{limit} for a message{from_peer}",
    "send": "waits in {call}{to_peer}: the client does not read",
    "sleep": "sleeps",
    "queue-get": "waits{limit} for an item of a queue",
    "queue-put": "waits{limit} for room in a full queue",
    "queue-join": "waits{limit} until a queue has been worked off",
    "lock": "waits{limit} for a lock",
    "semaphore": "waits{limit} for a place at a semaphore",
    "condition": "waits{limit} for a condition",
    "event": "waits{limit} for an event",
    "barrier": "waits{limit} at a barrier",
    "task-group": "waits for {tasks} of its TaskGroup",
    "tasks": "waits in {call} for {tasks}",
    "thread": "waits for {work} in a thread",
    "in-thread": "runs on this line, in a thread",
    "task": "waits{limit} for another task",
    "future": "waits{limit} for a future",
    "hidden": "waits in {call}, where Python hides its frames",
    "begins": "is about to begin",
    "runs": "runs on this line",
    "blocks": "runs on this line and blocks everybody",
    "ready": "is about to go on",
    "between": "is between two of your functions",
    "other": "waits{limit} in {call}",
}


class Wait(NamedTuple):
    """What one suspended task waits for.

    Attributes:
        kind: ``"message"``, ``"send"``, ``"sleep"``, ``"lock"`` …
        call: the name of the function that the reader's line calls, for example ``"receive_text"``.
        peer: the name of the connection that is received from or sent to, when it is not the handler's own.
        limit_seconds: after how long it gives up, or ends by itself; None when it waits for ever.
        tasks: for how many tasks it waits.
        work: what a thread does for it.
    """

    kind: str
    call: str = ""
    peer: str = ""
    limit_seconds: float | None = None
    tasks: int = 0
    work: str = ""


def kind_of(module: str, qualified_name: str) -> str | None:
    """What a library's function waits for, or None when that is not known of it."""
    return _KINDS.get((module.partition(".")[0], qualified_name))


def words_for(wait: Wait) -> str:
    """What a handler does now, as the end of a sentence: ``waits for a message``."""
    parts = {
        "limit": f" at most {wait.limit_seconds:g} s" if wait.limit_seconds is not None else "",
        "from_peer": f" from {wait.peer}" if wait.peer else "",
        "to_peer": f" to {wait.peer}" if wait.peer else "",
        "tasks": count_of(wait.tasks, "task"),
        "call": wait.call or "a call",
        "work": wait.work or "a function",
    }
    return _WORDS[wait.kind].format(**parts)


def plural(words: str) -> str:
    """The same for several handlers: ``wait for a message``."""
    verb, space, rest = words.partition(" ")
    return {"is": "are"}.get(verb, verb.removesuffix("s")) + space + rest


def count_of(count: int, noun: str) -> str:
    """``1 task``, ``3 tasks``, ``1,500 tasks``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

"""What has come for a client: frames are put together to messages, and each message is taken once, by whoever looked at it first."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.frames import Frame, Opcode

from kit.incoming import Assembly, Inbox


async def test_a_message_that_another_thread_took_meanwhile_is_not_mistaken_for_the_next_one() -> None:
    """Two receives wait in two threads: one for text, one for bytes. What comes next is for whoever asked for its kind."""
    inbox = Inbox(10)
    inbox.put(["a text", b"bytes"])
    looked_at = await inbox.first()
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(inbox.take, "a text").result(5.0)
    with pytest.raises(IndexError, match="taken meanwhile"):
        inbox.take(looked_at)
    assert (len(inbox), await inbox.first()) == (1, b"bytes")


async def test_each_message_is_taken_once_however_many_threads_take() -> None:
    inbox, count = Inbox(10), 2_000
    inbox.put([f"message {number}" for number in range(count)])

    async def take_all() -> list[str | bytes]:
        taken = []
        while len(inbox):
            try:
                message = await asyncio.wait_for(inbox.first(), 5.0)
                inbox.take(message)
            except (IndexError, TimeoutError):
                continue
            taken.append(message)
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = [work.result(30.0) for work in [threads.submit(asyncio.run, take_all()) for _ in range(4)]]
    assert sorted(itertools.chain(*taken)) == sorted(f"message {number}" for number in range(count))
    assert all(part == sorted(part, key=lambda text: int(text.split()[1])) for part in taken)


@pytest.mark.parametrize(("messages", "full"), [(["x"] * 9, False), (["x"] * 10, True), (["x" * 2**22], False), ([b"x" * 2**22, "x"], True)])
def test_it_is_full_by_the_number_of_messages_or_by_their_size(messages: list[str | bytes], full: bool) -> None:
    inbox = Inbox(10)
    assert inbox.put(messages) is not full
    assert inbox.full is full
    for message in messages:
        inbox.take(message)
    assert (inbox.full, inbox.roomy) == (False, True)


def test_a_character_that_is_cut_by_two_frames_is_whole_in_the_message() -> None:
    assembly, text = Assembly(), "häuser".encode()
    assert assembly.add(Frame(Opcode.TEXT, text[:2], fin=False)) is None
    assert not assembly.between_messages
    assert assembly.add(Frame(Opcode.CONT, text[2:])) == "häuser"
    assert assembly.between_messages


def test_text_that_is_no_utf_8_leaves_nothing_behind_for_the_next_message() -> None:
    assembly = Assembly()
    with pytest.raises(UnicodeDecodeError):
        assembly.add(Frame(Opcode.TEXT, b"caf\xe9"))
    assert assembly.add(Frame(Opcode.BINARY, b"\xe9")) == b"\xe9"

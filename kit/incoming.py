"""What has come for one client: data frames put together to messages, and messages that wait, bounded, to be taken."""

from __future__ import annotations

from threading import Lock

from websockets.frames import Frame, Opcode

from kit.loops import Mailbox

__all__ = ["Assembly", "Inbox", "Message"]

Message = str | bytes

_WAITING_MOST = 4 * 2**20  # characters of text and bytes


class Assembly:
    """Puts the frames of each message together (RFC 6455 §5.4). Lives on the clients' loop."""

    def __init__(self) -> None:
        self._fragments: list[bytes] = []
        self._is_text = False

    @property
    def between_messages(self) -> bool:
        """Whether no message has come in part."""
        return not self._fragments

    def add(self, frame: Frame) -> Message | None:
        """The message that ``frame`` completes, or None while more of it is to come.

        Raises:
            UnicodeDecodeError: the message is text, but no UTF-8 (RFC 6455 §8.1).
        """
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._fragments.append(frame.data)
        if not frame.fin:
            return None
        fragments, self._fragments = self._fragments, []
        payload = bytes(fragments[0]) if len(fragments) == 1 else b"".join(fragments)
        return payload.decode() if self._is_text else payload


class Inbox:
    """Messages that wait to be taken, in their order; from any thread.

    It is full when ``messages_most`` wait, or more than 4 Mi characters and bytes of them. It takes more all the same:
    whoever fills it looks whether it is full, and stops.
    """

    def __init__(self, messages_most: int) -> None:
        self._messages_most = messages_most
        self._box: Mailbox[Message] = Mailbox()
        self._put_size = self._taken_size = 0  # each is counted by one side only, and never goes down
        self._taking = Lock()

    def __len__(self) -> int:
        return len(self._box)

    @property
    def closed(self) -> bool:
        """Whether no further message will come."""
        return self._box.closed

    @property
    def full(self) -> bool:
        """Whether no more should be put in for now."""
        return len(self._box) >= self._messages_most or self._put_size - self._taken_size > _WAITING_MOST

    @property
    def roomy(self) -> bool:
        """Whether at most half as many messages wait as there may be: a good time to put in more."""
        return len(self._box) <= self._messages_most // 2

    def put(self, messages: list[Message]) -> bool:
        """Add messages, from one thread at a time; whether there is room for more."""
        if messages:
            self._put_size += sum(map(len, messages))
            self._box.put(messages)
        return not self.full

    def close(self) -> None:
        """Say that nothing more will come."""
        self._box.close()

    async def first(self) -> Message:
        """Wait, on any loop, for the first message and return it without taking it; raises ``EOFError`` when none will come."""
        return await self._box.peek()

    def pass_on(self) -> None:
        """Wake another waiter: the one that was woken leaves the first message where it is."""
        self._box.pass_on()

    def take(self, message: Message) -> None:
        """Take the first message, which was looked at before.

        Raises:
            IndexError: it is not the first any more: somebody in another thread was quicker.
        """
        with self._taking:
            if self._box.first is not message:
                raise IndexError("taken meanwhile")
            self._box.take()
            self._taken_size += len(message)

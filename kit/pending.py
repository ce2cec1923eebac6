"""What `serve` and `connect` return at once: awaited it opens what it stands for, in ``async with`` it also closes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from kit.errors import KitError

__all__ = ["Pending"]

T = TypeVar("T")


class Pending(Generic[T]):
    """A server or a client that is still to be opened. Whoever uses it as if it were open is told what to write.

    Args:
        opening: opens it.
        closing: closes it at the end of an ``async with`` block.
        not_yet: what it is until then, for the error.
        advice: the line that opens it.
    """

    def __init__(self, opening: Callable[[], Coroutine[Any, Any, T]], closing: Callable[[T], Awaitable[None]], *, not_yet: str, advice: str) -> None:
        self._opening = opening
        self._closing = closing
        self._not_yet = not_yet
        self._advice = advice
        self._opened: list[T] = []

    def __await__(self) -> Generator[Any, None, T]:
        return self._open().__await__()

    async def __aenter__(self) -> T:
        opened = await self._open()
        self._opened.append(opened)
        return opened

    async def __aexit__(self, *exc_info: object) -> None:
        await self._closing(self._opened.pop())

    async def _open(self) -> T:
        """What goes wrong on purpose is told without the kit's own lines, between which the reader's would be lost."""
        try:
            return await self._opening()
        except KitError as error:
            raise error.with_traceback(None) from error.__cause__

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self._not_yet}, so it has no {name!r}. Did you forget await? Write: {self._advice}")

    def __repr__(self) -> str:
        """What a cell shows that ends with it: most likely an await is missing."""
        return f"<{self._not_yet}. Did you forget await? Write: {self._advice}>"

"""A function's or a class's source as the reader wrote it, line by line, in pieces that a view may colour. Pure."""

from __future__ import annotations

import ast
import inspect
import io
import keyword
import tokenize
from collections.abc import Iterator
from functools import partial
from types import CodeType
from typing import Any, NamedTuple

from kit.printable import visible
from kit.source import Place, source_lines

__all__ = ["Listing", "code_of", "listing_of"]

_LINES_LIMIT = 500
_LINE_CHARACTERS = 1_000
_STRINGS = {getattr(tokenize, name) for name in ("STRING", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END") if hasattr(tokenize, name)}
_LINE_ENDS = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT)

Piece = tuple[str, str]


class Listing(NamedTuple):
    """The source of one function or class.

    Attributes:
        title: its name.
        where: ``cell [7]`` or the file's name.
        filename: the file that Python knows it under.
        first_line: the number of its first line, which is its first decorator's if it has any.
        lines: its lines, each as pieces (kind, text); kinds are ``keyword``, ``string``, ``comment``, ``decorator``, ``number``, ``name`` or ``""``.
        head_line: the number of the line with ``def`` or ``class``.
        note: why there are no lines, or how many are not shown.
    """

    title: str
    where: str
    filename: str
    first_line: int
    lines: tuple[tuple[Piece, ...], ...] = ()
    head_line: int = 0
    note: str = ""

    @property
    def key(self) -> str:
        """What tells this listing from every other."""
        return f"{self.filename}:{self.first_line}:{self.title if not self.lines else ''}"

    def holds(self, code: CodeType, line: int) -> bool:
        """Whether a line of ``code`` is one of these."""
        return code.co_filename == self.filename and self.first_line <= line < self.first_line + max(1, len(self.lines))


def code_of(thing: Any) -> CodeType | None:
    """The code of a function, however it is wrapped: in a ``functools.partial``, a decorator that says so, a method or a callable object.

    A class is known by the first function in it. None for what is written in C.
    """
    if isinstance(thing, CodeType):
        return thing
    while isinstance(thing, partial):
        thing = thing.func
    thing = inspect.unwrap(thing)
    if inspect.isclass(thing):
        return next((member.__code__ for member in vars(thing).values() if inspect.isfunction(member)), None)
    function = getattr(thing, "__func__", thing)
    return getattr(function, "__code__", None) or getattr(vars(type(thing)).get("__call__"), "__code__", None)


def listing_of(thing: Any) -> Listing:
    """The source of a function, a class or a code object, or a listing without lines that says why there is none."""
    code = code_of(thing)
    title = visible(getattr(code, "co_qualname", "") or getattr(thing, "__name__", type(thing).__name__)).replace("<locals>.", "")
    if code is None:
        return Listing(title, "", "", 0, note="This is written in C, or has no code of its own: there is no source to show.")
    file_lines = source_lines(code.co_filename)
    where = Place(code.co_filename, code.co_firstlineno, code.co_name, "").cell
    if not file_lines:
        note = "Python keeps no source for this function: it was made neither in a file nor in a cell, for example by exec."
        return Listing(title, visible(where), code.co_filename, code.co_firstlineno, note=note)
    first, count = _extent(thing, code, file_lines)
    source = file_lines[first - 1 : first - 1 + min(count, _LINES_LIMIT)]
    note = f"{count - _LINES_LIMIT} more lines are not shown." if count > _LINES_LIMIT else ""
    title = title.rpartition(".")[0] if inspect.isclass(thing) else title
    return Listing(title, visible(where), code.co_filename, first, tuple(_coloured(source)), first + _head_offset(source), note)


def _extent(thing: Any, code: CodeType, file_lines: list[str]) -> tuple[int, int]:
    """The number of the first line and the count of lines; a class is looked up around one of its functions."""
    if inspect.isclass(thing):
        for node in ast.walk(_parsed("".join(file_lines))):
            if isinstance(node, ast.ClassDef) and node.name == thing.__name__ and node.lineno <= code.co_firstlineno <= (node.end_lineno or 0):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                return first, (node.end_lineno or first) - first + 1
    return code.co_firstlineno, len(inspect.getblock(file_lines[code.co_firstlineno - 1 :]))


def _parsed(text: str) -> ast.AST:
    try:
        return ast.parse(text)
    except SyntaxError:  # a cell with magics
        return ast.Module([], [])


def _head_offset(source: list[str]) -> int:
    heads = ("def ", "async def ", "class ")
    return next((index for index, line in enumerate(source) if line.lstrip().startswith(heads)), 0)


def _coloured(source: list[str]) -> Iterator[tuple[Piece, ...]]:
    """Each line in pieces; what Python cannot take apart stays in one piece."""
    marks = _marks(source)
    for number, line in enumerate(source, 1):
        text, at, pieces = line.rstrip("\r\n")[:_LINE_CHARACTERS], 0, []
        for begin, end, kind in marks.get(number, ()):
            pieces += [("", text[at:begin]), (kind, text[begin:end])]
            at = max(at, end)
        pieces.append(("", text[at:]))
        yield tuple((kind, visible(piece.expandtabs(4))) for kind, piece in pieces if piece)


def _marks(source: list[str]) -> dict[int, list[tuple[int, int, str]]]:
    """What to colour, by line: from which column to which, and as what."""
    indented = source[0][:1].isspace()
    text = ("if 1:\n" if indented else "") + "".join(source)
    marks: dict[int, list[tuple[int, int, str]]] = {}
    try:
        for token, kind in _kinds(tokenize.generate_tokens(io.StringIO(text).readline)):
            _add(marks, token, kind, -1 if indented else 0, source)
    except (tokenize.TokenError, SyntaxError):  # the end of a block that stands inside another
        pass
    return marks


def _kinds(tokens: Iterator[tokenize.TokenInfo]) -> Iterator[tuple[tokenize.TokenInfo, str]]:
    """The tokens that have a colour, and which."""
    before, decorating = "\n", False
    for token in tokens:
        starts = before == "\n"
        decorating = (token.string == "@" and starts) or (decorating and (token.type == tokenize.NAME or token.string == "."))
        kind = "decorator" if decorating else _kind(token, before)
        if kind:
            yield token, kind
        before = "\n" if token.type in _LINE_ENDS else token.string


def _kind(token: tokenize.TokenInfo, before: str) -> str:
    if token.type in _STRINGS:
        return "string"
    if token.type == tokenize.COMMENT:
        return "comment"
    if token.type == tokenize.NUMBER:
        return "number"
    if token.type == tokenize.NAME:
        return "keyword" if keyword.iskeyword(token.string) else "name" if before in ("def", "class") else ""
    return ""


def _add(marks: dict[int, list[tuple[int, int, str]]], token: tokenize.TokenInfo, kind: str, shift: int, source: list[str]) -> None:
    """Mark a token, on each of its lines."""
    (first, begin), (last, end) = token.start, token.end
    for row in range(first, last + 1):
        number = row + shift
        if 1 <= number <= len(source):
            from_column = begin if row == first else 0
            marks.setdefault(number, []).append((from_column, end if row == last else len(source[number - 1]), kind))

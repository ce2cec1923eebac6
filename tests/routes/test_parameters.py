"""What a parameter is: every one is sent where its route takes it, by a real connection."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import Cookie, Depends, FastAPI, Header, Query, WebSocket
from pydantic import BaseModel, Field

from tests.routes.handlers import Colour, app_with, handler, only_parameter, only_route


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int, "whole number"),
        (float, "number"),
        (bool, "true or false"),
        (str, "text"),
        (int | None, "whole number"),
        (int | str, "whole number or text"),
        (Decimal, "number"),
        (datetime.date, "date, such as 2026-11-21"),
        (datetime.datetime, "date and time, such as 2026-11-21T09:30:00"),
        (UUID, "UUID"),
        (Annotated[list[int], Query()], "several of: whole number"),
        (Annotated[set[Colour], Query()], "several of: choice"),
        (Colour, "choice"),
        (Any, "anything"),
    ],
    ids=str,
)
def test_types_are_said_in_words(annotation: Any, kind: str) -> None:
    assert only_parameter(annotation).kind == kind


@pytest.mark.parametrize(
    ("annotation", "limits"),
    [
        (Annotated[int, Query(ge=1, lt=10)], ("at least 1", "less than 10")),
        (Annotated[float | None, Query(gt=0.5, le=2)], ("more than 0.5", "at most 2")),
        (Annotated[int, Query(multiple_of=5)], ("a multiple of 5",)),
        (Annotated[str, Query(min_length=3, max_length=8, pattern="^a")], ("3 characters or more", "8 characters or fewer", "matches ^a")),
        (Annotated[list[str], Query(max_length=2)], ("2 values or fewer",)),
    ],
    ids=str,
)
def test_limits_are_said_in_words(annotation: Any, limits: tuple[str, ...]) -> None:
    assert only_parameter(annotation).limits == limits


def test_choices_are_listed() -> None:
    assert only_parameter(Colour).choices == ("red", "blue")
    assert only_parameter(Literal["a", 2] | None).choices == ("a", "2")


@pytest.mark.parametrize(
    ("default", "said"),
    [(None, "none"), (10, "10"), (True, "true"), ("", "empty text"), (Colour.RED, "red"), (datetime.date(2026, 1, 2), "2026-01-02")],
    ids=str,
)
def test_a_default_makes_a_parameter_optional_and_is_said_as_one_would_type_it(default: Any, said: str) -> None:
    parameter = only_parameter(Any, default)
    assert (parameter.required, parameter.default) == (False, said)


def test_a_default_that_is_made_each_time_is_said_to_be() -> None:
    assert only_parameter(Annotated[str, Query(default_factory=str)]).default == "made anew each time"


def test_description_examples_alias_and_deprecation_are_the_authors() -> None:
    parameter = only_parameter(Annotated[str, Query(description="Who.", examples=["Ana", "Ben"], alias="who-is-it", deprecated=True)])
    assert (parameter.name, parameter.sent_as) == ("value", "who-is-it")
    assert (parameter.description, parameter.examples, parameter.deprecated) == ("Who.", ("Ana", "Ben"), True)


async def test_each_parameter_goes_to_its_own_place(answers: Callable[..., Any]) -> None:
    async def endpoint(
        websocket: WebSocket,
        room: str,
        x_name: Annotated[str, Header()],
        plain_name: Annotated[str, Header(convert_underscores=False)],
        session: Annotated[str, Cookie(alias="session-id")],
        colour: Colour,
        numbers: Annotated[list[int], Query()],
        loud: bool,
        day: datetime.date,
        left_out: int | None = None,
    ) -> None:
        await websocket.accept()
        await websocket.send_json([room, x_name, plain_name, session, colour.name, numbers, loud, day.isoformat(), left_out])
        await websocket.close()

    values = {
        "room": "a",
        "x_name": "Ana",
        "plain_name": "p",
        "session": "s",
        "colour": Colour.BLUE,
        "numbers": [1, 2],
        "loud": True,
        "day": datetime.date(2026, 1, 2),
        "left_out": None,
    }
    expected = ["a", "Ana", "p", "s", "BLUE", [1, 2], True, "2026-01-02", None]
    assert await answers(endpoint, values, "/rooms/{room}") == expected
    typed = values | {"colour": "blue", "numbers": ["1", "2"], "loud": "true", "day": "2026-01-02"}
    assert await answers(endpoint, typed, "/rooms/{room}") == expected


@pytest.mark.parametrize("text", ["ü", "a b", "100%", "%2F", "a?b=c", "#", "a+b", "..", "&;=", "“”", "\u2028", "日本"])
async def test_any_text_comes_through_path_and_query_as_it_was(answers: Callable[..., Any], text: str) -> None:
    async def endpoint(websocket: WebSocket, part: str, query: str) -> None:
        await websocket.accept()
        await websocket.send_json([part, query])
        await websocket.close()

    assert await answers(endpoint, {"part": text, "query_query": text}, "/x/{part}/y") == [text, text]


async def test_a_path_convertor_lets_slashes_through(answers: Callable[..., Any]) -> None:
    assert await answers(handler, {"file": "a/b c/d.txt"}, "/files/{file:path}") == {"file": "a/b c/d.txt"}


class Paging(BaseModel):
    limit: int = Field(10, ge=1, le=100)
    tags: list[str] = []
    order_by: str = Field("name", alias="order")


async def test_a_model_stands_for_several_parameters(answers: Callable[..., Any]) -> None:
    async def endpoint(websocket: WebSocket, paging: Annotated[Paging, Query()]) -> None:
        await websocket.accept()
        await websocket.send_json([paging.limit, paging.tags, paging.order_by])
        await websocket.close()

    route = only_route(app_with(endpoint))
    assert [(each.name, each.sent_as, each.default) for each in route.parameters] == [
        ("limit", "limit", "10"),
        ("tags", "tags", "none"),
        ("order_by", "order", "name"),
    ]
    assert await answers(endpoint, {"limit": 5, "tags": ["a", "b"], "order_by": "age"}) == [5, ["a", "b"], "age"]
    assert "at most 100, but got “101”" in route.problems({"limit": 101})["limit"]


async def test_models_of_headers_and_cookies_are_sent_as_fastapi_reads_them(answers: Callable[..., Any]) -> None:
    class Headers(BaseModel):
        x_name: str
        save_data: bool = False

    class Cookies(BaseModel):
        session_id: str

    async def endpoint(websocket, headers, cookies) -> None:
        await websocket.accept()
        await websocket.send_json([headers.x_name, headers.save_data, cookies.session_id])
        await websocket.close()

    endpoint.__annotations__ = {"websocket": WebSocket, "headers": Annotated[Headers, Header()], "cookies": Annotated[Cookies, Cookie()]}
    assert [each.sent_as for each in only_route(app_with(endpoint)).parameters] == ["x-name", "save-data", "session_id"]
    assert await answers(endpoint, {"x_name": "Ana", "save_data": True, "session_id": "s"}) == ["Ana", True, "s"]


def test_a_model_that_may_be_left_out_has_nothing_required() -> None:
    class Filter(BaseModel):
        colour: str

    (parameter,) = only_route(app_with_model(Filter | None)).parameters
    assert (parameter.name, parameter.required) == ("colour", False)


def app_with_model(annotation: Any) -> FastAPI:
    async def endpoint(websocket, model=None): ...

    endpoint.__annotations__ = {"websocket": WebSocket, "model": Annotated[annotation, Query()]}
    return app_with(endpoint)


def test_names_that_two_places_share_or_that_connect_needs_get_their_place_before_them() -> None:
    async def endpoint(websocket: WebSocket, name: str, token: str, key: Annotated[str, Header(alias="token")], x: Annotated[str, Cookie()]) -> None: ...

    def dependency(token: Annotated[str, Cookie()]) -> None: ...

    app = FastAPI()
    app.websocket("/ws", dependencies=[Depends(dependency)])(endpoint)
    assert [each.name for each in only_route(app).parameters] == ["query_name", "query_token", "key", "x", "cookie_token"]

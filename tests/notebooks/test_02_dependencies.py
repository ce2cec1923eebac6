"""02_dependencies: the documentation's example is verbatim, and what the text explains is what the cells print."""

from __future__ import annotations

import re

from tests.notebooks.execution import ROOT, Run, code_cells, printed, read, shown, tags

NOTEBOOK = ROOT / "notebooks/02_dependencies.ipynb"
QUESTIONS = {
    "where the three of the pool are": "[where(connection) for connection in pooling_server.timeline.connections]",
    "who of them is open": "[connection.open for connection in pooling_server.timeline.connections]",
}

# FastAPI's documentation, Advanced User Guide, WebSockets, "Using Depends and others", without its HTML; by Sebastián Ramírez, MIT licence.
DOCUMENTED = """
from typing import Annotated

from fastapi import (
    Cookie,
    Depends,
    FastAPI,
    Query,
    WebSocket,
    WebSocketException,
    status,
)
from fastapi.responses import HTMLResponse

app = FastAPI()


@app.get("/")
async def get():
    return HTMLResponse(html)


async def get_cookie_or_token(
    websocket: WebSocket,
    session: Annotated[str | None, Cookie()] = None,
    token: Annotated[str | None, Query()] = None,
):
    if session is None and token is None:
        raise WebSocketException(code=status.WS_1008_POLICY_VIOLATION)
    return session or token


@app.websocket("/items/{item_id}/ws")
async def websocket_endpoint(
    *,
    websocket: WebSocket,
    item_id: str,
    q: int | None = None,
    cookie_or_token: Annotated[str, Depends(get_cookie_or_token)],
):
    await websocket.accept()
    while True:
        data = await websocket.receive_text()
        await websocket.send_text(
            f"Session cookie or query token value is: {cookie_or_token}"
        )
        if q is not None:
            await websocket.send_text(f"Query parameter q is: {q}")
        await websocket.send_text(f"Message text was: {data}, for item ID: {item_id}")
"""
THE_PAGE = ["from importlib.resources import files", 'html = (files("kit") / "pages" / "dependencies.html").read_text("utf-8")']


def output_of(run: Run, marker: str) -> str:
    """What the one code cell that contains ``marker`` printed, the first time; the same the second time."""
    outputs = [printed([cell]) for cell in run.everything if marker in cell.source]
    told = [re.sub(r"^Server '\w+' is at .*\n", "", output) for output in outputs]
    assert len(told) == 2, f"{marker!r} is in {len(told) // 2} cells"
    assert told[0] == told[1]
    return told[0]


def rows_of(text: str) -> dict[str, str]:
    """The lines of ``text`` by their first word."""
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()}


def test_it_has_35_to_50_cells() -> None:
    assert 35 <= len(read(NOTEBOOK).cells) <= 50


def test_the_documentations_python_is_verbatim() -> None:
    cells = code_cells(read(NOTEBOOK))
    last = next(index for index, cell in enumerate(cells) if "verbatim" in tags(cell))
    lines = [line for cell in cells[: last + 1] for line in cell.source.splitlines() if line.strip()]
    assert [line for line in lines if line not in THE_PAGE] == [line for line in DOCUMENTED.splitlines() if line.strip()]


def test_ana_without_credentials_gets_a_bare_403_in_her_panel(run: Run) -> None:
    assert output_of(run, 'both = BothSides(server, "/items/foo/ws"') == "HTTP 403, body b''\n"


def test_the_cookie_wins_and_an_empty_token_opens_the_door(run: Run) -> None:
    said = "Session cookie or query token value is: "
    assert output_of(run, '"empty token"').splitlines() == [f"token        {said}t", f"cookie       {said}c", f"both         {said}c", f"empty token  {said}"]


def test_three_refusals_look_alike_to_the_client_and_mean_three_things(run: Run) -> None:
    told = output_of(run, "the server meant:")
    assert re.findall(r"the client got: +(.*)", told) == ["HTTP 403, body b''"] * 3
    no_path, no_number, no_credentials = re.findall(r"the server meant: (.*)", told)
    assert (no_credentials, no_path) == ("(1008, '')", "(1000, '')")
    assert no_number.startswith("(1008,")
    assert "int_parsing" in no_number


def test_the_refusal_is_explained_by_what_the_handler_did_and_what_each_other_side_reports(run: Run) -> None:
    (told,) = shown([cell for cell in run.first if "why = refusal.ended" in cell.source])
    assert "The server meant 1008, policy violation, but it closed before it accepted." in told
    assert "Browser         Code 1006, no reason" in told
    assert "TestClient      WebSocketDisconnect with code 1008, no reason; tests lie here" in told


def test_http_answers_carry_their_status_and_their_words(run: Run) -> None:
    assert output_of(run, "async def knock(").splitlines() == [
        'page 1, no token: HTTP 401 {"detail":"show a token"}',
        "page 0: HTTP 422 number: Input should be greater than or equal to 1",
        "page 1: page 1",
    ]


def test_after_accept_only_a_websocket_exception_reaches_the_client(run: Run) -> None:
    exception, why, http, why_http, other, why_other = map(str.strip, output_of(run, "async def accept_and_raise").splitlines())
    assert (exception, http, other) == ("WebSocketException: closed 1008 members only", "HTTPException: closed 1006", "ValueError: closed 1006")
    assert "“members only”" in why
    assert re.search(r"HTTPException|http\.response\.start", why_http)
    assert "ValueError: members only" in why_other


def test_httpconnection_serves_both_and_request_only_http(run: Run) -> None:
    assert output_of(run, "async def http_visitor").splitlines() == [
        'GET /hello?name=Ana  HTTP 200 "hello Ana"',
        'GET /hello           HTTP 401 {"detail":"say your name"}',
        "/ws?name=Ana         hello Ana",
        '/ws                  HTTP 401 {"detail":"say your name"}',
        "/request             HTTP 500 Internal Server Error",
        "TypeError: http_visitor() missing 1 required positional argument: 'request'",
    ]


def test_a_yielding_dependency_ends_after_the_handler_and_hears_how_it_ended(run: Run) -> None:
    told = output_of(run, "serve(lending").splitlines()
    assert [line.strip() for line in told] == [
        *("/receives", "borrow", "handler over", "thrown in at the yield: WebSocketDisconnect(1000)", "give back"),
        *("/iterates", "borrow", "handler over", "give back"),
    ]


def test_two_silent_clients_use_up_a_pool_of_two(run: Run) -> None:
    assert output_of(run, "Cleo waited in vain") == "Cleo waited in vain\n"


def test_the_third_waits_in_the_dependency_even_after_her_client_has_left(run: Run) -> None:
    in_it = ["await websocket.receive()", "message", 'yield "a database connection"']
    assert run.answers["where the three of the pool are"] == [in_it, in_it, ["async with pool:", "semaphore"]]
    assert run.answers["who of them is open"] == [True, True, False]


def test_security_classes_refuse_with_401_and_hand_over_what_they_find(run: Run) -> None:
    assert [" ".join(line.split()) for line in output_of(run, "credentials = {").splitlines()] == [
        "/http-bearer 401, WWW-Authenticate: Bearer",
        "HTTPAuthorizationCredentials(scheme='Bearer', credentials='abc')",
        "/oauth2 401, WWW-Authenticate: Bearer",
        "'abc'",
        "/api-key 401, WWW-Authenticate: APIKey",
        "'abc'",
    ]


def test_scopes_let_a_token_read_that_may_not_write(run: Run) -> None:
    told = {tuple(line.split()[:2]): " ".join(line.split()[2:]) for line in output_of(run, "needs_scope").splitlines()}
    unknown = 'HTTP 401 {"detail":"unknown token"}'
    assert told == {
        ("/read", "anas-token"): "welcome, anas-token",
        ("/read", "bens-token"): "welcome, bens-token",
        ("/read", "a-guess"): unknown,
        ("/write", "anas-token"): 'HTTP 403 {"detail":"no {\'write\'}"}',
        ("/write", "bens-token"): "welcome, bens-token",
        ("/write", "a-guess"): unknown,
    }


def test_of_four_ways_only_the_first_message_keeps_the_token_out_of_the_handshake(run: Run) -> None:
    lines = [" ".join(line.split()) for line in output_of(run, "async def enter_by").splitlines()]
    assert lines == [
        "/query welcome GET /query?token=open-sesame HTTP/1.1",
        "/cookie welcome Cookie: session=open-sesame",
        "/first-message welcome",
        "/subprotocol welcome Sec-WebSocket-Protocol: chat, open-sesame",
        "/first-message wrong token",
        "/first-message no token came",
    ]


def test_switching_the_check_off_warns(run: Run) -> None:
    assert output_of(run, "with warnings.catch_warnings").startswith("UnsafeServerWarning: allowed_origins='*'")


def test_a_foreign_page_with_anas_cookie_reads_her_secret(run: Run) -> None:
    assert output_of(run, "hijack = {") == 'Ana\'s door code is 4711\nHTTP 401 {"detail":"unknown session"}\n'


def test_cors_middleware_lets_it_pass_and_trusted_host_looks_at_the_host(run: Run) -> None:
    assert output_of(run, "covered_server = ") == "Ana's door code is 4711\nHTTP 400 Invalid host header\n"


def test_the_readers_own_check_lets_in_our_pages_and_programs_only(run: Run) -> None:
    secret = "Ana's door code is 4711"
    refused = 'HTTP 403 {{"detail":"no pages of {} here"}}'.format
    evil = "https://chat.example.evil.example"
    assert rows_of(output_of(run, "async def our_pages")) == {"None": secret, "https://chat.example": secret, evil: refused(evil), "null": refused("null")}


def test_serve_refuses_a_foreign_page_and_names_what_would_allow_it(run: Run) -> None:
    foreign, own = output_of(run, "safe_server = ").splitlines()
    assert foreign.startswith("HTTP 403 Refused: ")
    assert "serve(app, allowed_origins=['http://evil.example'])" in foreign
    assert own == "Ana's door code is 4711"


def test_a_stand_in_takes_a_dependencys_place_in_a_test(run: Run) -> None:
    assert output_of(run, "dependency_overrides[visitor]") == "hello stand-in\n"


def test_testclient_and_a_real_client_disagree_where_the_text_says_so(run: Run) -> None:
    lines = output_of(run, "knock_in_a_test(tested, path)").splitlines()
    told = {path: (test.partition(":")[2].strip(), real.partition(":")[2].strip()) for path, test, real in zip(*[iter(lines)] * 3, strict=True)}
    assert told["/items/foo/ws"] == ("closed 1008", "HTTP 403")
    assert told["/items/foo/ws?token=t&q=abc"] == ("closed 1008 [{'type': 'int_parsing', 'loc'", "HTTP 403")
    assert told["/nowhere"] == ("closed 1000", "HTTP 403")
    assert told["/pages/1"] == ('HTTP 401 {"detail":"show a token"}',) * 2
    assert told["/WebSocketException"] == ("closed 1008 members only",) * 2
    assert told["/HTTPException"] == ('HTTP 403 {"detail":"members only"}', "closed 1006")

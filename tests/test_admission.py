"""What a server lets in: by default only pages of its own and programs of this machine, and every refusal says why."""

from __future__ import annotations

import contextlib
import socket
import warnings
from collections.abc import AsyncIterator, Callable, Iterator

import httpx2
import pytest
from fastapi import FastAPI, Request, WebSocket

from kit import Server, connect, serve
from kit.admission import Admission, is_loopback, notebook_pages
from kit.closing import explain
from kit.errors import HandshakeRefused, ServerStartError, UnsafeServerWarning
from kit.recording import write_recording

SECRET = "a-secret-of-this-test"
app = FastAPI()


@app.get("/scope")
async def scope_of_request(request: Request) -> dict:
    return {"query": str(request.query_params), "headers": [list(pair) for pair in request.headers.items()]}


@app.websocket("/scope")
async def scope_of_websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"query": str(websocket.query_params), "headers": [list(pair) for pair in websocket.headers.items()]})
    await websocket.receive()


@app.websocket("/raw")
async def raw_scope_of_websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"query": websocket.scope["query_string"].decode(), "headers": dict(websocket.headers)})
    await websocket.receive()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0) as serving:
        yield serving


@pytest.fixture(autouse=True)
def pages_are_forgotten() -> Iterator[None]:
    yield
    notebook_pages.forget()


async def refused(server: Server, **handshake: object) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as caught:
        await connect(server, "/scope", **handshake)
    return caught.value


async def let_in(server: Server, **handshake: object) -> None:
    async with connect(server, "/scope", **handshake) as client:
        await client.receive_json(timeout=5)


def handler_ran(server: Server) -> bool:
    return any(entry.kind.startswith("asgi") for entry in server.timeline.entries())


# Origin.


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://localhost.evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost",
        "file://",
        "http://127.0.0.1@evil.example",
        "garbage",
    ],
)
async def test_a_page_of_another_origin_is_refused_before_the_app_runs(server: Server, origin: str) -> None:
    refusal = await refused(server, origin=origin)
    assert refusal.status == 403
    assert origin.encode() in refusal.body
    assert b"allowed_origins" in refusal.body
    assert not handler_ran(server)
    assert any(entry.details.get("what") == "refused" and origin in entry.text for entry in server.timeline.entries())
    assert origin in explain(refusal.connection).sentence


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST", "app.localhost"])
async def test_a_page_of_the_servers_own_is_let_in_by_whatever_name_it_was_opened(server: Server, host: str) -> None:
    await let_in(server, origin=f"http://{host}:{server.port}")


async def test_a_program_sends_no_origin_and_is_let_in(server: Server) -> None:
    await let_in(server)


async def test_a_refusal_is_not_followed_by_a_false_error(server: Server, eventually: Callable) -> None:
    await refused(server, origin="http://evil.example")
    await eventually(lambda: server.connections == [])
    assert [entry.text for entry in server.timeline.entries() if entry.kind in ("log", "error")] == []


async def test_an_allowed_origin_is_let_in_and_another_is_not() -> None:
    async with serve(app, port=0, allowed_origins=["https://Example.org/"]) as server:
        await let_in(server, origin="https://example.org")
        await refused(server, origin="http://example.org")


async def test_allow_lists_may_be_any_iterable_and_spell_what_browsers_leave_out() -> None:
    listed = {"allowed_origins": (one for one in ["https://example.org:443"]), "allowed_hosts": iter(["Example.net."])}
    async with serve(app, port=0, **listed) as server:
        await let_in(server, origin="https://example.org")
        await let_in(server, headers={"Host": "example.net"})


async def test_the_check_can_be_switched_off_with_a_warning() -> None:
    with pytest.warns(UnsafeServerWarning, match="any web page that you open may connect"):
        server = await serve(app, port=0, allowed_origins="*")
    async with server_until_stopped(server):
        await let_in(server, origin="http://evil.example")


async def test_the_page_of_the_notebook_may_connect_by_its_own_name(server: Server) -> None:
    """As behind JupyterHub or Binder, where the proxy passes the browser's Host and Origin on."""
    hub = {"origin": "https://hub.example", "headers": {"Host": "hub.example"}}
    await refused(server, **hub)
    notebook_pages.add("https://hub.example")
    await let_in(server, **hub)
    await refused(server, origin="https://hub.example.evil", headers={"Host": "hub.example"})


@pytest.mark.parametrize("origin", [None, 7, "null", "", "file://x", "hub.example", "https://" + "x" * 400])
def test_what_is_no_web_origin_is_not_noted_as_a_notebooks_page(origin: object) -> None:
    notebook_pages.add(origin)
    assert notebook_pages.origins == frozenset()


# Host.

FOREIGN_HOSTS = [
    "evil.example",
    "localhost.evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "192.168.0.7",
    "0.0.0.0",
    "user@localhost",
    "local host",
    "localhost,evil",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_a_name_that_is_not_this_machines_is_refused_for_pages_and_for_sockets(server: Server, host: str) -> None:
    """DNS rebinding: a page of evil.example, whose name now points at 127.0.0.1, is of the same origin as its socket."""
    assert (await refused(server, headers={"Host": host}, origin=f"http://{host}")).status == 403
    assert b"403" in raw_answer(server, f"GET /scope HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert not handler_ran(server)
    assert any(entry.details.get("what") == "refused" and entry.connection is None for entry in server.timeline.entries())


@pytest.mark.parametrize("host", ["localhost", "LocalHost:80", "localhost.", "127.0.0.1", "127.8.9.10", "[::1]:9", "me.localhost"])
async def test_every_loopback_name_is_let_in(server: Server, host: str) -> None:
    await let_in(server, headers={"Host": host})
    assert b"200 OK" in raw_answer(server, f"GET /scope HTTP/1.1\r\nHost: {host}\r\n\r\n")


def test_two_hosts_must_both_be_known() -> None:
    admission = Admission(origins=(), hosts=(), token=None, bound_host="127.0.0.1")
    both = {"type": "http", "headers": [(b"host", b"localhost"), (b"host", b"evil.example")]}
    assert "evil.example" in str(admission.refusal(both))
    assert "no name" in str(admission.refusal({"type": "http", "headers": []}))


async def test_an_allowed_host_is_let_in_and_the_check_can_be_switched_off() -> None:
    async with serve(app, port=0, allowed_hosts=["my.example"]) as server:
        await let_in(server, headers={"Host": "my.example"}, origin="http://my.example")
        await refused(server, headers={"Host": "other.example"})
    with pytest.warns(UnsafeServerWarning, match="allowed_hosts"):
        server = await serve(app, port=0, allowed_hosts="*")
    async with server_until_stopped(server):
        await let_in(server, headers={"Host": "evil.example"})


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("0.0.0.0", False), ("x", False)])
def test_loopback_names(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# The kit's token.


@pytest.fixture
async def guarded() -> AsyncIterator[Server]:
    async with serve(app, port=0, host="0.0.0.0", kit_token=SECRET) as serving:
        yield serving


async def test_a_server_that_others_can_reach_needs_a_token() -> None:
    with pytest.raises(ServerStartError, match=r"kit_token=secrets\.token_urlsafe\(\)"):
        await serve(app, port=0, host="0.0.0.0")


@pytest.mark.parametrize("token", ["short", "with a blank in the middle", "sixteen;characters", 1234567890123456, ""])
async def test_a_weak_or_unusable_token_is_refused(token: object) -> None:
    with pytest.raises(ServerStartError, match="16 or more"):
        await serve(app, port=0, kit_token=token)


async def test_the_token_opens_the_door_as_query_or_cookie_and_the_app_never_sees_it(guarded: Server) -> None:
    address = f"ws://127.0.0.1:{guarded.port}"
    for handshake in (
        {"query": {"a": "1", "kit_token": SECRET, "b": "2"}},
        {"cookies": {"x": "1", f"kit_token_{guarded.port}": SECRET, "y": "2"}, "query": {"a": "1", "b": "2"}},
    ):
        async with connect(address, "/scope", **handshake, headers={"Referer": f"http://x/?kit_token={SECRET}"}) as client:
            seen = await client.receive_json(timeout=5)
            assert seen["query"] == "a=1&b=2"
            assert SECRET not in str(seen)
    assert SECRET not in write_recording(guarded.timeline)
    assert SECRET not in str([(entry.text, entry.payload, entry.details) for entry in guarded.timeline.entries()])


@pytest.mark.parametrize(
    ("what", "name", "secret"),
    [
        ("query", "a", "1"),
        ("query", "kit_token", "wrong"),
        ("cookies", "kit_token_{port}", SECRET[:-1]),
        ("cookies", "kit_token_1", SECRET),
        ("headers", "X-Kit-Token", SECRET),
    ],
)
async def test_without_the_right_token_nobody_is_let_in(guarded: Server, what: str, name: str, secret: str) -> None:
    with pytest.raises(HandshakeRefused, match=f"kit_token.* in the cookie kit_token_{guarded.port}"):
        await connect(f"ws://127.0.0.1:{guarded.port}", "/scope", **{what: {name.format(port=guarded.port): secret}})
    assert not handler_ran(guarded)


async def test_the_kits_own_clients_show_it_by_themselves(guarded: Server) -> None:
    await let_in(guarded)


async def test_a_replaced_server_with_another_token_is_dialled_with_the_new_one(guarded: Server) -> None:
    async with serve(app, name=guarded.name, kit_token=SECRET[::-1]):
        await let_in(guarded)


async def test_an_app_never_sees_the_token_of_another_server() -> None:
    """Cookies ignore ports: a browser shows every server of this machine what one of them has set."""
    async with serve(app, port=0) as server, connect(server, "/scope", headers={"Cookie": f"a=1; kit_token_1234={SECRET}"}, cookies={"b": "2"}) as client:
        seen = await client.receive_json(timeout=5)
        assert dict(seen["headers"])["cookie"] == "a=1; b=2"


async def test_an_app_sees_what_shows_no_token_as_it_came(server: Server) -> None:
    address = f"ws://127.0.0.1:{server.port}"
    async with connect(address, "/raw?&a=1&", headers={"Cookie": "; a=1", "Referer": "http://x/?kit=1"}) as client:
        seen = await client.receive_json(timeout=5)
        assert seen["query"] == "&a=1&"
        assert seen["headers"]["cookie"] == "; a=1"
        assert seen["headers"]["referer"] == "http://x/?kit=1"


async def test_debug_logging_keeps_the_token_out_of_the_timeline(guarded: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await let_in(guarded)
    assert not [entry.text for entry in guarded.timeline.entries() if entry.kind == "log" and SECRET in entry.text]


async def test_a_browser_keeps_it_in_a_cookie_and_not_in_its_address(guarded: Server) -> None:
    async with httpx2.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{guarded.port}") as browser:
        first = await browser.get(f"/scope?a=1&kit_token={SECRET}")
        assert (first.status_code, first.headers["location"]) == (303, "?a=1")
        assert "httponly" in first.headers["set-cookie"].lower()
        page = await browser.get("/scope?a=1")
        assert (page.status_code, page.json()["query"]) == (200, "a=1")
        assert SECRET not in page.text


async def test_two_servers_of_one_machine_leave_each_other_s_cookie_alone(guarded: Server) -> None:
    """A browser shows both cookies to both servers, whatever their ports: each knows its own, and no app sees either."""
    async with serve(app, port=0, name="beside", kit_token=SECRET[::-1]) as beside, httpx2.AsyncClient(trust_env=False) as browser:
        links = [f"{server.url}/scope" for server in (guarded, beside)]
        for link, secret in zip(links, (SECRET, SECRET[::-1]), strict=True):
            assert (await browser.get(f"{link}?kit_token={secret}")).status_code == 303
        assert len(browser.cookies) == 2
        for link in links:
            page = await browser.get(link)
            assert page.status_code == 200
            assert "kit_token" not in page.text


async def test_an_address_of_the_machine_is_a_name_of_a_server_that_others_can_reach(guarded: Server) -> None:
    async with connect(f"ws://127.0.0.1:{guarded.port}", "/scope", headers={"Host": "192.168.0.7"}, cookies=guarded.kit_cookies):
        pass
    with pytest.raises(HandshakeRefused, match="evil"):
        await connect(f"ws://127.0.0.1:{guarded.port}", "/scope", headers={"Host": "evil.example"}, cookies=guarded.kit_cookies)


# Limits, and arguments that are none.


async def test_more_sockets_than_allowed_are_turned_away_with_the_limits_name(eventually: Callable) -> None:
    async with serve(app, port=0, max_connections=2) as server, connect(server, "/scope"), connect(server, "/scope") as second:
        refusal = await refused(server)
        assert (refusal.status, b"max_connections=2" in refusal.body) == (503, True)
        assert "max_connections" in explain(refusal.connection).sentence
        assert any("max_connections=2" in entry.text for entry in server.timeline.entries())
        await second.close()
        await eventually(lambda: len(server.connections) == 1)
        await let_in(server)


@pytest.mark.parametrize("sent", [b"", b"GET /scope HTTP/1.1\r\nHost: localhost\r\nUpgr"])
async def test_a_handshake_that_does_not_come_whole_is_given_up_with_the_limits_name(sent: bytes, eventually: Callable) -> None:
    async with serve(app, port=0, handshake_timeout_seconds=0.2) as server, connect(server, "/scope"):
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.sendall(sent)
            await eventually(lambda: any("handshake_timeout_seconds=0.2" in entry.text for entry in server.timeline.entries()))
            slow.settimeout(5)
            assert b"HTTP/1.1 408 " in slow.recv(4096)
        assert len(server.connections) == 1
        await let_in(server)


async def test_a_second_request_that_stays_unfinished_is_given_up_too(eventually: Callable) -> None:
    async with serve(app, port=0, handshake_timeout_seconds=0.2) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
            slow.sendall(b"GET /scope HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in slow.recv(65536)
            slow.sendall(b"GET /scope HT")
            await eventually(lambda: any("handshake_timeout_seconds=0.2" in entry.text for entry in server.timeline.entries()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"allowed_origins": "https://example.org"}, "expects a list"),
        ({"allowed_origins": ["https://example.org/page"]}, "without a path"),
        ({"allowed_origins": ["example.org"]}, "without a path"),
        ({"allowed_origins": ["*"]}, "inside a list"),
        ({"allowed_hosts": "example.org"}, "expects a list"),
        ({"allowed_origins": None}, "expects a list"),
        ({"allowed_hosts": ["http://example.org"]}, "allowed_hosts expects texts such as 'example.org'"),
        ({"allowed_hosts": [""]}, "allowed_hosts expects texts"),
        ({"max_connections": None}, "a whole number above 0, but got None"),
        ({"max_connections": 0.5}, "a whole number"),
        ({"handshake_timeout_seconds": float("nan")}, "a number above 0"),
        ({"host": 2130706433}, "host expects an address"),
        ({"max_connections": 0}, "max_connections expects a whole number above 0"),
        ({"handshake_timeout_seconds": -1}, "handshake_timeout_seconds expects a number above 0"),
    ],
)
async def test_an_argument_that_is_none_is_named(arguments: dict, words: str) -> None:
    with pytest.raises(ServerStartError, match=words):
        await serve(app, port=0, **arguments)


@contextlib.asynccontextmanager
async def server_until_stopped(server: Server) -> AsyncIterator[None]:
    with warnings.catch_warnings():
        yield
        await server.stop()


def raw_answer(server: Server, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(request.encode())
        return sock.recv(65536)

"""PagePanel: what the kernel tells the browser, and the address that the browser makes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit import Server, ServerPanel, serve
from kit.panels.base import front_end
from kit.panels.page import PagePanel
from tests.apps import app
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]


# What the kernel says.


async def test_it_says_where_the_page_is_and_which_server_serves_it(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(PagePanel(server, "/rooms?colour=blue"))
    await eventually(lambda: front_end.state)
    expected = {"name": "main", "port": server.port, "path": "/rooms?colour=blue", "via": "auto", "everywhere": False, "serving": True, "loads": 0}
    assert expected.items() <= front_end.state.items()


async def test_it_follows_the_name_through_stop_and_replacement(show: Show, eventually: Eventually) -> None:
    async with serve(app, port=0, name="followed") as first:
        front_end = show(PagePanel(first))
        await eventually(lambda: front_end.state.get("serving"))
        await first.stop()
        await eventually(lambda: front_end.state.get("serving") is False)
        async with serve(app, port=0, name="followed") as second:
            await eventually(lambda: front_end.state.get("serving"))
            assert (front_end.state["port"], front_end.state["loads"]) == (second.port, 1)


async def test_what_else_happens_on_the_server_does_not_load_the_page_again(server: Server, show: Show, eventually: Eventually) -> None:
    front_end, witness = show(PagePanel(server)), show(ServerPanel(server))
    await eventually(lambda: front_end.state and witness.state)
    before = len(front_end.messages)
    server.timeline.note("something else", what="other")
    await eventually(lambda: "something else" in witness.words())
    await server.stop()
    await eventually(lambda: "stopped" in witness.words())
    await eventually(lambda: not front_end.state["serving"])
    assert [message["state"]["serving"] for message in front_end.messages[before:]] == [False]


async def test_clicks_have_method_twins(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(PagePanel(server))
    front_end.do("reload")
    await eventually(lambda: front_end.state.get("loads") == 1)
    front_end.do("show", via="proxy")
    await eventually(lambda: front_end.state.get("via") == "proxy")
    await front_end.panel.show("/docs", via="direct")
    assert (front_end.state["path"], front_end.state["via"]) == ("/docs", "direct")


async def test_a_servers_own_secret_goes_with_the_address_and_is_not_saved(show: Show, eventually: Eventually) -> None:
    secret = "a-secret-of-23-letters."
    async with serve(app, port=0, name="secret", kit_token=secret) as server:
        panel = PagePanel(server, "/page?x=1#end")
        front_end = show(panel)
        await eventually(lambda: front_end.state)
        assert front_end.state["path"] == "/page?x=1&kit_token=a-secret-of-23-letters.#end"
        assert front_end.state["shown"] == "/page?x=1#end"
        assert secret not in json.dumps({name: value for name, value in panel.get_state().items() if not name.startswith("_")})


@pytest.mark.parametrize(("arguments", "words"), [({"path": "docs"}, "begins with '/'"), ({"path": None}, "begins with '/'"), ({"via": "hub"}, "'proxy'")])
async def test_what_is_no_path_or_no_way_is_refused_by_name(server: Server, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PagePanel(server, **arguments)


# What the browser makes of it; the helpers run under Node.


@pytest.fixture(scope="session")
def page_module(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """``page_module(expression)``: the value of an expression in which ``kit`` is the panel's module."""
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI"):
            pytest.fail("no node on PATH: apt install nodejs")
        pytest.skip("no node on PATH: apt install nodejs")
    folder: Path = tmp_path_factory.mktemp("page")
    (folder / "page.mjs").write_text(front_end("page")["_esm"], "utf-8")

    def evaluate(expression: str) -> Any:
        script = f'const kit = await import("./page.mjs"); console.log(JSON.stringify({expression} ?? null));'
        done = subprocess.run([node, "--input-type=module", "-e", script], cwd=folder, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return evaluate


def ways(page_module: Callable[[str], Any], notebook: str, base: str = "/", **wanted: Any) -> list[list[str]]:
    """Each way to port 8000 for a notebook opened at an address: its name and URL."""
    wanted = {"port": 8000, "path": "/", **wanted}
    return page_module(f"kit.waysTo(new URL({json.dumps(notebook)}), {json.dumps(base)}, {json.dumps(wanted)}).map(({{ way, url }}) => [way, url])")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "ana.localhost"])
def test_a_local_notebook_goes_to_the_server_itself_by_the_same_name_and_else_through_jupyter(page_module: Any, host: str) -> None:
    notebook = f"http://{host}:8888/lab/tree/01.ipynb"
    assert ways(page_module, notebook) == [["direct", f"http://{host}:8000/"], ["proxy", f"http://{host}:8888/proxy/8000/"]]


def test_a_server_on_ipv4_is_not_looked_for_on_ipv6(page_module: Any) -> None:
    assert ways(page_module, "http://[::1]:8888/lab")[0] == ["direct", "http://127.0.0.1:8000/"]


@pytest.mark.parametrize(
    "notebook", ["https://hub.example/user/ana/lab", "http://10.0.0.7:8888/user/ana/lab", "https://localhost:8888/", "http://localhost.evil.example/"]
)
def test_any_other_notebook_goes_through_jupyter_only_and_https_never_frames_http(page_module: Any, notebook: str) -> None:
    origin = "/".join(notebook.split("/")[:3])
    assert ways(page_module, notebook, "/user/ana/") == [["proxy", f"{origin}/user/ana/proxy/8000/"]]
    assert ways(page_module, notebook, "/user/ana/", via="direct") == []


def test_an_https_page_is_not_given_the_http_address_of_its_jupyter_server(page_module: Any) -> None:
    assert ways(page_module, "https://hub.example/lab", "http://other.example/user/ana/") == []


def test_a_server_for_every_machine_is_called_by_the_notebooks_host(page_module: Any) -> None:
    assert ways(page_module, "http://10.0.0.7:8888/lab", everywhere=True)[0] == ["direct", "http://10.0.0.7:8000/"]


def test_a_way_can_be_asked_for(page_module: Any) -> None:
    assert [way for way, _ in ways(page_module, "http://localhost:8888/lab", via="proxy")] == ["proxy"]


def test_query_and_fragment_stay_and_a_path_cannot_climb_out_of_the_proxy(page_module: Any) -> None:
    found = ways(page_module, "http://localhost:8888/lab", path="/a/../../../api?x=/../y#z")
    assert found == [["direct", "http://localhost:8000/api?x=/../y#z"], ["proxy", "http://localhost:8888/proxy/8000/api?x=/../y#z"]]


@pytest.mark.parametrize("notebook", ["vscode-webview://0a1b/index.html", "https://0a1b.vscode-cdn.net/index.html"])
def test_vs_code_gets_a_link(page_module: Any, notebook: str) -> None:
    assert ways(page_module, notebook, path="/x") == [["vscode", "http://127.0.0.1:8000/x"]]


@pytest.mark.parametrize(
    ("configuration", "pathname", "base"),
    [
        ('{"baseUrl": "/user/ana/"}', "/elsewhere", "/user/ana/"),
        ('{"baseUrl": "/user/ana"}', "/", "/user/ana/"),
        ("{}", "/lab/tree/a.ipynb", "/"),
        ("not JSON", "/user/ana/lab/tree/a.ipynb", "/user/ana/"),
        ("{}", "/user/lab/notebooks/a.ipynb", "/user/lab/"),
        ("{}", "/user/ana/server2/voila/render/a.ipynb", "/user/ana/server2/"),
        ("{}", "/jupyter/tree", "/jupyter/"),
        ("{}", "/", "/"),
    ],
)
def test_the_jupyter_servers_address_is_its_configurations_or_else_derived(page_module: Any, configuration: str, pathname: str, base: str) -> None:
    assert page_module(f"kit.baseUrl({json.dumps(configuration)}, {json.dumps(pathname)})") == base


@pytest.mark.parametrize(
    ("notebook", "wanted", "words"),
    [
        ("https://hub.example/", {"via": "auto"}, "pip install jupyter-server-proxy in the environment of the Jupyter server"),
        ("http://localhost:8888/", {"via": "auto"}, "SSH tunnel"),
        ("http://localhost:8888/", {"via": "proxy"}, "pip install jupyter-server-proxy"),
        ("http://localhost:8888/", {"via": "direct"}, "Nothing answers"),
        ("https://hub.example/", {"via": "direct"}, "from another machine, or by https"),
    ],
)
def test_a_page_out_of_reach_is_explained_with_what_to_do(page_module: Any, notebook: str, wanted: dict[str, str], words: str) -> None:
    assert words in page_module(f"kit.whyNot(new URL({json.dumps(notebook)}), {json.dumps(wanted)})")

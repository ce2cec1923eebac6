"""The routes panel in a real JupyterLab: read like a reference page, filled in, connected, refused."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

APP = '''
from typing import Annotated, Literal
from fastapi import APIRouter, Depends, FastAPI, Header, Query, WebSocket
from fastapi.security import APIKeyQuery
from kit import serve
from kit.panels.routes import RoutesPanel

async def guest(token: Annotated[str, Depends(APIKeyQuery(name="token"))]):
    """Whoever holds a <img src=x onerror=alert(1)> token."""
    yield token

app, router = FastAPI(), APIRouter(prefix="/rooms")

@router.websocket("/{room}")
async def talk(websocket: WebSocket, room: int, who: Annotated[str, Depends(guest)], mood: Literal["good", "bad"] = "good",
               every: Annotated[float, Query(gt=0, le=5, description="Seconds between `two` steps.")] = 1.5):
    """Talk in a room. Bring a token.

    The rest of a long story.
    """
    await websocket.accept()
    await websocket.send_text(f"room {room}, {who}, {mood}, {every}")
    await websocket.receive()

@app.websocket("/office/{file:path}")
async def office(websocket: WebSocket, file: str, x_key: Annotated[str, Header()]):
    """Nobody but the staff."""
    await websocket.accept()

app.include_router(router)
server = await serve(app, port=0)
panel = RoutesPanel(server)
panel
'''


def panel_of(notebook: Notebook) -> Locator:
    return notebook.page.get_by_role("region", name="Routes of server main", exact=True)


def route_of(notebook: Notebook, path: str) -> Locator:
    return panel_of(notebook).get_by_role("article", name=f"Route {path}")


async def opened(notebook: Notebook, path: str) -> Locator:
    """The section of a route, open."""
    route = route_of(notebook, path)
    heading = route.get_by_role("button", name=path)
    if await heading.get_attribute("aria-expanded") == "false":
        await heading.press("Enter")
    await expect(heading).to_have_attribute("aria-expanded", "true")
    return route


async def fill(route: Locator, **values: str) -> None:
    for name, value in values.items():
        await route.get_by_label(name, exact=True).fill(value)


async def test_it_reads_like_a_reference_page(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP) as notebook:
        await notebook.run_all()
        await expect(panel_of(notebook)).to_contain_text("2 routes")
        room = await opened(notebook, "/rooms/{room}")
        for words in ("Talk in a room.", "Bring a token.", "The rest of a long story.", "cell [1], line", "guest", "yield", "wants query token: API key"):
            await expect(room).to_contain_text(words)
        await expect(room).to_contain_text("<img src=x onerror=alert(1)>")
        await expect(room.get_by_label("room", exact=True)).to_have_attribute("aria-required", "true")
        await expect(room.get_by_label("every", exact=True)).to_have_attribute("placeholder", "default: 1.5")
        await expect(room.get_by_label("mood", exact=True).locator("option")).to_have_text(["default: good", "good", "bad"])
        await expect(notebook.page.get_by_role("region", name="Chat of Ana")).to_have_count(0)
        assert await notebook.execute("print(len(server.timeline.connections))") == "0"
        await panel_of(notebook).get_by_label("Filter: routes").fill("x_key")
        await expect(room).to_be_hidden()
        await expect(route_of(notebook, "/office/{file:path}")).to_be_visible()
        assert (notebook.page_errors, notebook.dialogs) == ([], [])


async def test_a_filled_form_connects_and_its_line_of_code_does_the_same(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP) as notebook:
        await notebook.run_all()
        room = await opened(notebook, "/rooms/{room}")
        await fill(room, room="7", token="abc", Client="Cleo")
        await room.get_by_label("mood", exact=True).select_option("bad")
        await room.get_by_label("token", exact=True).press("Enter")
        await expect(room.get_by_role("status")).to_have_text("Cleo is connected, as connection 1.")
        await expect(notebook.chat("Cleo").get_by_role("log")).to_contain_text("room 7, abc, bad, 1.5")
        await expect(room).to_contain_text("1 open")
        line = await room.get_by_label("The same in code").text_content()
        assert line == 'await panel.connect("/rooms/{room}", room=7, mood="bad", token="abc", name="Cleo")'
        await notebook.execute(line.replace("Cleo", "Dora"))
        await expect(notebook.chat("Dora").get_by_role("log")).to_contain_text("room 7, abc, bad, 1.5")
        await expect(room).to_contain_text("2 open")
        boxes = [await notebook.chat(name).bounding_box() for name in ("Cleo", "Dora")]
        assert boxes[0]["width"] == boxes[1]["width"] > 250, "the chats stand below each other, each as wide as their column"
        await notebook.page.get_by_role("button", name="Remove Cleo").click()
        await expect(notebook.chat("Cleo")).to_have_count(0)
        await expect(room).to_contain_text("1 open")
        assert notebook.page_errors == []


async def test_it_follows_the_app_and_keeps_what_was_typed(open_notebook: OpenNotebook) -> None:
    more = '@app.websocket("/more")\nasync def more(websocket: WebSocket): ...\nserver = await serve(app, port=0)'
    async with open_notebook(APP, more, "await serve(FastAPI(), port=0)\nNone") as notebook:
        await notebook.run(0)
        await fill(await opened(notebook, "/rooms/{room}"), room="7")
        await notebook.run(1)
        await expect(panel_of(notebook)).to_contain_text("3 routes")
        await expect(route_of(notebook, "/rooms/{room}").get_by_label("room", exact=True)).to_have_value("7")
        await notebook.run(2)
        await expect(panel_of(notebook)).to_contain_text("This app has no WebSocket route. Add one, then press Refresh:")


async def test_wrong_input_is_told_beside_its_field_and_sent_anyway_on_demand(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP) as notebook:
        await notebook.run_all()
        room = await opened(notebook, "/rooms/{room}")
        await fill(room, room="seven", every="9")
        await room.get_by_role("button", name="Connect", exact=True).click()
        for name, words in {"room": "but got “seven”", "every": "but got “9”", "token": "expected an API key, but got nothing"}.items():
            field = room.get_by_label(name, exact=True)
            await expect(field).to_have_attribute("aria-invalid", "true")
            problem = room.locator(f"#{await field.get_attribute('aria-describedby')}")
            assert words.lower() in (await problem.text_content()).lower()
        await expect(room.get_by_label("room", exact=True)).to_be_focused()
        await fill(room, room="7")
        await expect(room.get_by_label("room", exact=True)).not_to_have_attribute("aria-invalid", "true")
        await room.get_by_label("Send it anyway").check()
        await room.get_by_role("button", name="Connect", exact=True).click()
        await expect(room.get_by_role("status")).to_have_text("Refused with HTTP 401: the chat of Ana says why.")
        await expect(notebook.chat("Ana")).to_contain_text("refused 401")
        await expect(room.get_by_label("Send it anyway")).to_be_checked()
        await fill(room, every="1", token="abc")
        await room.get_by_role("button", name="Connect", exact=True).click()
        await expect(room.get_by_role("status")).to_contain_text("is connected, as connection")
        await expect(room.get_by_label("Send it anyway")).to_be_hidden()
        await expect(room.get_by_label("The same in code")).not_to_contain_text("anyway")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_everything_is_readable_and_within_its_panel(open_notebook: OpenNotebook, dark: bool) -> None:
    async with open_notebook(APP, dark=dark) as notebook:
        await notebook.run_all()
        room = await opened(notebook, "/rooms/{room}")
        await fill(room, room="seven")
        await room.get_by_role("button", name="Connect", exact=True).click()
        await expect(room.get_by_role("alert").first).to_be_visible()
        await notebook.execute('await panel.connect("/rooms/{room}", room=7, token="abc")')
        await expect(notebook.chat("Ana")).to_contain_text("open")
        for width in (1000, 620, 360):
            await notebook.page.set_viewport_size({"width": width, "height": 1000})
            assert await faint_texts(notebook.page) == []
            assert await panels_that_overflow(notebook.page) == []
        assert notebook.page_errors == []

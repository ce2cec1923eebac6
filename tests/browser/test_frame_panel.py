"""FramePanel in a real JupyterLab: read, chosen, searched, copied, exported and opened again, by mouse and by keyboard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SETUP = "from kit import serve, connect\nfrom kit.panels.frame import FramePanel\nfrom tests.apps import app\n"
PANEL = SETUP + "server = await serve(app, port=0)\npanel = FramePanel(server)\npanel"
TALK = """import json
ana = await connect(server, "/ws?token=s3cr3t", name="Ana")
for text in ("hello", json.dumps({"user": "Ana", "n": 12345678901234567890}), "a" * 30 + "!", "bye"):
    await ana.send_text(text)
    await ana.receive_text()
await ana.close(4321, "enough")
"""


def panel_of(notebook: Notebook) -> Locator:
    return notebook.page.get_by_role("region", name="Frames of server main", exact=True)


def row(panel: Locator, words: str) -> Locator:
    return panel.get_by_role("listbox", name="Frames").get_by_role("option", name=words)


async def test_frames_are_read_filtered_searched_and_seen_closely(open_notebook: OpenNotebook) -> None:
    async with open_notebook(PANEL, TALK) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        frames, glass = panel.get_by_role("listbox", name="Frames"), panel.get_by_role("group", name="The chosen frame")
        await expect(panel.locator("header")).to_contain_text("closed 4321")
        await frames.press("Home")
        await expect(glass).to_contain_text("Handshake: the request")
        await frames.press("ArrowDown")
        await glass.get_by_text("How Sec-WebSocket-Accept comes from").click()
        await expect(glass).to_contain_text("They are the same: this server has understood")

        await row(panel, "client to server, TEXT, 5 B, hello").click()
        await expect(glass.get_by_role("img", name="opcode 0001 (TEXT), MASK 1, length 0000101 (5)")).to_be_visible()
        await expect(glass).to_contain_text("Both ends saw the same 11 bytes: 6 of header, 5 of payload.")
        await glass.get_by_role("button", name="Hex", exact=True).click()
        await expect(glass).to_contain_text("000000  68 65 6c 6c 6f")
        await glass.get_by_role("button", name="Masking").click()
        await expect(glass.get_by_role("row", name="= payload 68 65 6c 6c 6f")).to_be_visible()

        await frames.press("ArrowDown")
        await frames.press("ArrowDown")
        await glass.get_by_role("button", name="JSON", exact=True).click()
        await expect(glass.get_by_text("12345678901234567890")).to_be_visible()

        await panel.get_by_label("Kind").select_option("control")
        await expect(frames.get_by_role("option")).to_have_count(2)
        await row(panel, "client to server, CLOSE").click()
        await expect(glass).to_contain_text("4321 the application's own code: its meaning is agreed between this app and its clients. Reason: “enough”.")
        await panel.get_by_label("Kind").select_option("all")
        await panel.get_by_label("Direction").select_option("down")
        await expect(frames.get_by_role("option", name="client to server")).to_have_count(0)
        await panel.get_by_label("Direction").select_option("all")

        find = panel.get_by_role("searchbox")
        await find.fill("hello")
        await expect(panel).to_contain_text("2 found")
        await find.press("Enter")
        await expect(panel).to_contain_text("1 of 2 found")
        await panel.get_by_role("button", name="Next found frame").click()
        await expect(panel).to_contain_text("2 of 2 found")
        await panel.get_by_role("button", name="Only these").click()
        await expect(frames.get_by_role("option")).to_have_count(2)
        assert notebook.page_errors == []


async def test_an_expression_that_would_take_for_ever_is_stopped_and_the_page_lives(open_notebook: OpenNotebook) -> None:
    async with open_notebook(PANEL, TALK) as notebook:
        await notebook.run_all()
        panel, problem = panel_of(notebook), panel_of(notebook).locator(".kit-frame-problem")
        find = panel.get_by_role("searchbox")
        await panel.get_by_role("button", name="Regular expression").click()
        await find.fill("^h.l+o$")
        await expect(panel).to_contain_text("2 found")
        await find.fill("h(")
        await expect(problem).to_contain_text("This is no regular expression")
        await find.fill("(a+)+$")
        await expect(problem).to_contain_text("takes longer than half a second, so it was stopped")
        await find.fill("b.e")
        await expect(panel).to_contain_text("2 found")
        await expect(problem).to_be_hidden()
        assert notebook.page_errors == []


async def test_an_export_is_downloaded_without_secrets_and_opened_again(open_notebook: OpenNotebook, tmp_path: Path) -> None:
    async with open_notebook(PANEL, TALK, "await server.stop()") as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await expect(panel.locator("header")).to_contain_text("closed 4321")
        async with notebook.page.expect_download() as downloading:
            await panel.get_by_role("button", name="Export").click()
        saved = tmp_path / "ana.jsonl"
        await (await downloading.value).save_as(saved)
        assert "s3cr3t" not in saved.read_text("utf-8")
        assert json.loads(saved.read_text("utf-8").splitlines()[0])["format"] == "websockets-from-both-sides"

        await panel.get_by_role("button", name="Clear").click()
        await expect(panel.get_by_role("listbox", name="Frames")).to_contain_text("No frames yet")
        await panel.get_by_label("Recording to open").set_input_files(saved)
        await expect(panel.locator("header")).to_contain_text("Recording: ana.jsonl")
        await expect(row(panel, "client to server, GET")).to_be_in_viewport()  # what is over is read from its beginning
        await row(panel, "client to server, TEXT, 3 B, bye").click()
        await expect(panel).to_contain_text("Both ends saw the same 9 bytes")
        (tmp_path / "bad.jsonl").write_text("nothing of the sort", "utf-8")
        await panel.get_by_label("Recording to open").set_input_files(tmp_path / "bad.jsonl")
        await expect(panel.locator(".kit-frame-problem")).to_contain_text("line 1: expected a JSON object")
        await panel.get_by_role("button", name="Back to live").click()
        await expect(panel.get_by_role("button", name="Back to live")).to_be_hidden()
        assert notebook.page_errors == []


async def test_five_thousand_frames_stay_a_few_elements_and_a_pause_holds_them(open_notebook: OpenNotebook) -> None:
    flood = "async with connect(server, '/count/5000') as ben:\n    for _ in range(5000): await ben.receive_text()"
    async with open_notebook(PANEL, flood) as notebook:
        await notebook.run(0)
        panel = panel_of(notebook)
        await expect(panel.get_by_label("Connection")).to_contain_text("newest: nobody yet")
        await notebook.run(1)
        await expect(panel).to_contain_text("older frames are not in this list.")
        await panel.get_by_role("listbox", name="Frames").press("End")  # a connection that was over when it was first seen is shown from its beginning
        await expect(row(panel, "server to client, TEXT, 4 B, 4999")).to_be_visible()
        assert await panel.get_by_role("listbox", name="Frames").get_by_role("option").count() < 60
        await panel.get_by_role("button", name="Pause").click()
        await notebook.execute("ana = await connect(server, '/ws', name='Ana'); await ana.send_text('late')")
        await expect(panel.get_by_role("button", name="Resume · ")).to_be_visible()
        await row(panel, "server to client, TEXT, 4 B, 4999").click()  # what is shown while paused can still be opened
        await expect(panel.get_by_role("group", name="The chosen frame")).to_contain_text("TEXT frame")
        await expect(panel.get_by_label("Connection", exact=True)).to_have_value("newest")
        await panel.get_by_role("button", name="Resume · ").click()
        await expect(row(panel, "client to server, TEXT, 4 B, late")).to_be_visible()
        assert notebook.page_errors == []


async def test_a_pause_outlasts_a_list_that_is_told_anew_and_gives_way_to_a_choice(open_notebook: OpenNotebook) -> None:
    ben = "ben = await connect(server, '/ws', name='Ben')\nawait ben.send_text('from Ben')\nawait ben.receive_text()"
    async with open_notebook(PANEL, TALK) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await expect(row(panel, "client to server, TEXT, 3 B, bye")).to_have_count(1)
        await notebook.execute("panel.pause()")
        await expect(panel.get_by_role("button", name="Resume")).to_have_attribute("aria-pressed", "true")
        await notebook.execute("panel.look_at(1)")  # the same connection, told anew
        await panel.get_by_label("Find in the first").fill("bye")
        await expect(panel.locator(".kit-frame-finding")).to_contain_text("2 found")
        await notebook.execute(ben)
        await panel.get_by_label("Connection", exact=True).select_option("2")
        await expect(row(panel, "client to server, TEXT, 8 B, from Ben")).to_have_count(1)
        await notebook.execute("panel.resume()\nawait ben.send_text('more')")
        await expect(row(panel, "client to server, TEXT, 4 B, more")).to_have_count(1)
        await notebook.execute("panel.clear()")
        await expect(panel.get_by_role("listbox", name="Frames")).to_contain_text("No frames yet")
        assert notebook.page_errors == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_everything_is_readable_and_within_its_panel(open_notebook: OpenNotebook, dark: bool) -> None:
    async with open_notebook(PANEL, TALK, dark=dark) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await panel.get_by_role("listbox", name="Frames").press("Home")
        await row(panel, "client to server, TEXT, 5 B, hello").click()
        await expect(panel).to_contain_text("Both ends saw the same")
        for width in (1000, 620, 320):
            await notebook.page.add_style_tag(content=f".kit-frame-panel {{ width: {width if width < 1000 else 830}px !important; }}")
            assert await faint_texts(notebook.page) == []
            assert await panels_that_overflow(notebook.page) == []
        assert notebook.page_errors == []

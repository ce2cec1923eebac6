"""07_your_own_app: its shop is listed whole, connects by name, refuses as its text says, and is reloaded."""

from __future__ import annotations

from tests.notebooks.execution import ROOT, Run, printed, read

NOTEBOOK = ROOT / "notebooks/07_your_own_app.ipynb"
QUESTIONS = {
    "the state of the server": "server.state",
    "the chats": "sorted({chat.name for chat in panel.chats})",
    "the overrides": "len(shop.app.dependency_overrides)",
    "came and left": "[entry.text for entry in server.timeline.entries() if entry.kind == 'print'][:1]",
    "the door": "[(d.name, d.yields, d.dependencies[0].wants) for d in panel.routes.find('talk').dependencies]",
    "the office": "[d.headline for d in panel.routes.find('incoming').dependencies]",
}


def test_it_has_20_to_28_cells() -> None:
    assert 20 <= len(read(NOTEBOOK).cells) <= 28


def test_docs_lists_no_route_and_the_kit_all_four_with_what_they_take(run: Run) -> None:
    said = run.printed_by("openapi.json").splitlines()
    assert said[0] == "/docs lists: {}"
    assert [line.split("  ")[0] for line in said[2:]] == ["/orders/{order_id}/track", "/photos/{filename:path}", "/rooms/{room}", "/office/orders"]
    takes = ("order_id, every", "filename, kind", "room, token", "x_staff_key")
    assert [words in line for words, line in zip(takes, said[2:], strict=True)] == [True] * 4


def test_values_arrive_where_the_routes_want_them(run: Run) -> None:
    assert run.printed_by("async def told") == (
        "GET /orders/17/track?every=0.1\n"
        "order 17 is packed\norder 17 is on its way\norder 17 is at your door\nclosed with 1000\n"
        "GET /photos/tea/cup%20%232%2C%20100%25.jpg\n"
        "tea/cup #2, 100%.jpg: 3 bytes of jpeg\nclosed with 1000\n"
    )


def test_the_panel_says_what_is_wrong_and_the_server_does_not(run: Run) -> None:
    said = run.printed_by("WrongParameters")
    assert said.startswith("order_id: expected a whole number, but got “seventeen”. The app says: ")
    assert "\nevery: expected a number, more than 0, at most 5, but got “9”. The app says: " in said
    assert said.endswith("Nothing was connected.\n\nanyway: 403 b''\n")


def test_the_doors_refuse_with_401_401_and_a_bare_403(run: Run) -> None:
    assert run.printed_by("knocks = [").splitlines() == [
        '/rooms/{room} 401 b\'{"detail":"no such receipt"}\'',
        '/rooms/{room} 401 b\'{"detail":"Not authenticated"}\'',
        "/office/orders 403 b''",
    ]


def test_the_right_keys_open_them(run: Run) -> None:
    assert run.printed_by('open sesame", name=') == "chat.v1 | CONNECTED CONNECTED\n"
    assert run.answers["came and left"] == ["Ana came"]


def test_an_override_takes_the_tokens_place_and_is_taken_back(run: Run) -> None:
    assert run.printed_by("async def anybody") == "['room']\nBen is in without a token: True\n"
    assert run.answers["the overrides"] == 0
    assert run.answers["the door"] == [["guest", True, "query token: API key"]]
    assert run.answers["the office"] == ["Nobody but the staff."]


def test_a_reloaded_app_does_what_was_edited_in_every_run(run: Run) -> None:
    said = "GET /orders/18/track?every=0.1\norder 18 is paid\norder 18 is packed\n"
    assert run.printed_by("importlib.reload").startswith(said)
    assert printed(run.everything).count(said) == 2


def test_it_leaves_its_server_running_and_the_chats_of_those_who_came(run: Run) -> None:
    assert run.answers["the state of the server"] == "serving"
    assert run.answers["the chats"] == ["Ana", "Ben", "Boss", "Emil"]

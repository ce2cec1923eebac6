"""The HTML pages, read as files: one file each, nothing from elsewhere, every control named, every text legible."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

PAGES = {entry.name: entry.read_text("utf-8") for entry in (files("kit") / "pages").iterdir() if entry.name.endswith(".html")}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_CONTROLS = {"input", "select", "textarea", "button", "output"}

# What Chromium paints behind a page without a background of its own, by colour scheme.
_CANVAS = {"light": "#ffffff", "dark": "#121212"}


class Outline(HTMLParser):
    """The elements of a page, each with its attributes, its ancestors and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[int]]] = []
        self.texts: dict[int, str] = {}
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {[self.elements[at][0] for at in self._open]}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}, [*self._open]))
        if tag not in _VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open[-1]][0] == tag, f"</{tag}> closes <{self.elements[self._open[-1]][0]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for at in self._open:
            self.texts[at] = self.texts.get(at, "") + data

    def of(self, *tags: str) -> list[tuple[int, dict[str, str], list[int]]]:
        return [(at, attributes, ancestors) for at, (tag, attributes, ancestors) in enumerate(self.elements) if tag in tags]

    def text(self, at: int) -> str:
        return " ".join(self.texts.get(at, "").split())


@pytest.fixture(params=sorted(PAGES))
def source(request: pytest.FixtureRequest) -> str:
    return PAGES[request.param]


@pytest.fixture
def page(source: str) -> Outline:
    return Outline(source)


def script_of(source: str) -> str:
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    return script


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
        shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted(map(luminance, (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_documentations_three_pages_are_there() -> None:
    assert PAGES.keys() == {"echo.html", "dependencies.html", "broadcast.html"}


def test_a_page_is_one_file_that_loads_nothing_else(source: str, page: Outline) -> None:
    assert [attributes for _, attributes, _ in page.of("script", "style", "img", "iframe") if attributes] == []
    assert [attributes["href"] for _, attributes, _ in page.of("link")] == ["data:,"]
    assert not re.search(r"url\(|@import|\bimport\b|\bfetch\(", source)


def test_a_page_has_no_inline_handlers_styles_or_script_addresses(page: Outline) -> None:
    names = [name for _, attributes, _ in page.elements for name in attributes]
    assert [name for name in names if name.startswith("on") or name in ("style", "action", "formaction")] == []


def test_a_page_makes_no_markup_of_text_and_runs_none(source: str) -> None:
    script = script_of(source)
    forbidden = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "javascript:", "setTimeout(", "setInterval(")
    assert [word for word in forbidden if word in script] == []


def test_a_page_calls_back_where_it_came_from_and_names_no_host(source: str) -> None:
    assert not re.search(r"wss?://|https?://|localhost|127\.0\.0\.1", source)
    assert script_of(source).count("new WebSocket(") == script_of(source).count("new WebSocket(address(") == 1
    assert "location.origin + location.pathname" in source


def test_a_page_says_what_it_is_in_its_head(source: str, page: Outline) -> None:
    assert source.startswith("<!doctype html>\n")
    (html,), (title,), (heading,) = page.of("html"), page.of("title"), page.of("h1")
    assert html[1]["lang"] == "en"
    assert page.text(title[0]) == page.text(heading[0])
    assert {"width=device-width, initial-scale=1", "light dark"} <= {attributes.get("content") for _, attributes, _ in page.of("meta")}
    assert len(page.of("main")) == 1


def test_every_control_has_a_name_and_every_name_its_control(page: Outline) -> None:
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes["for"]: page.text(at) for at, attributes, _ in page.of("label") if "for" in attributes}
    assert labels.keys() <= set(ids)
    for at, attributes, ancestors in page.of(*_CONTROLS):
        around = "".join(page.text(label) for label, _, _ in page.of("label") if label in ancestors)
        assert labels.get(attributes.get("id", "")) or around or page.text(at), f"{attributes} has no name"
        assert set(attributes.get("aria-describedby", "").split()) <= set(ids)


def test_a_page_tells_its_state_and_its_messages_to_a_screen_reader(page: Outline) -> None:
    roles = {attributes["role"]: attributes for _, attributes, _ in page.elements if "role" in attributes}
    assert roles.keys() == {"status", "log", "note"}
    assert {"aria-label", "tabindex"} <= roles["log"].keys(), "a scrolling log needs a name, and the keyboard to scroll it"
    assert "hidden" in roles["note"], "what a proxy hides is said only where there is one"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(source: str, scheme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", source, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w+);", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--(\w+): (#\w+);", dark))
    texts = {name: colour for name, colour in colours.items() if name != "line"}
    assert texts.keys() == {"quiet", "brand", "good", "bad"}
    assert {name: ratio for name, colour in texts.items() if (ratio := contrast(colour, _CANVAS[scheme])) < 4.5} == {}
    (background, text), *_ = re.findall(r"background: (#\w+); color: (#\w+);", source)
    assert contrast(background, text) >= 4.5


def test_the_pages_say_the_same_of_how_a_connection_ends() -> None:
    parts = (
        r"const MEANINGS = \{.*?\};",
        r"const PROXY_MEANINGS = \{.*?\};",
        r"const home = .*?\n\n",
        r"function ending\(.*?\n      \}",
        r'<p id="proxy".*?</p>',
    )
    for part in parts:
        assert len({re.search(part, source, re.DOTALL)[0] for source in PAGES.values()}) == 1, part

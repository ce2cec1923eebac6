"""An explained end as a notebook keeps it: static HTML without scripts, and text, both without secrets. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from kit.evidence import Fact
from kit.printable import visible
from kit.redaction import redact

__all__ = ["as_html", "as_text"]

# Readable on a light and on a dark page alike: no colour but a line's, and the word says it too.
_LINES = {"good": "#1a9c5b", "warning": "#b8860b", "bad": "#d0453d"}
_CELL = "padding:4px 0;border:0;border-top:1px solid #8884;text-align:left;vertical-align:top;white-space:normal;overflow-wrap:anywhere;"


def as_html(headline: str, sentence: str, severity: str, table: Iterable[Fact]) -> str:
    """The headline, the sentence and the table, which ends with what to change; whatever came over the wire is text in it, never markup."""
    rows = "".join(_row(*fact) for fact in table)
    says = f'<div style="margin:0 0 8px"><strong>{_safe(headline)}.</strong> {_prose(sentence)}</div>'
    grid = f'<table style="border-collapse:collapse;font-size:12px;margin:0;table-layout:auto;width:100%"><tbody>{rows}</tbody></table>' if rows else ""
    box = "border:1px solid #8884;border-radius:8px;box-sizing:border-box;font-size:13px;line-height:1.45;max-width:720px;padding:10px 14px"
    return f'<div style="{box};border-left:3px solid {_LINES.get(severity, "#8884")}">{says}{grid}</div>'


def as_text(sentence: str, table: Iterable[Fact]) -> str:
    """The sentence, and a line for each row of the table."""
    facts = list(table)
    wide = max((len(fact.label) for fact in facts), default=0)
    return "\n".join([visible(redact(sentence)), *(f"  {label:<{wide}}  {visible(redact(value))}" for label, value in facts)])


def _row(label: str, value: str) -> str:
    head = f'<th scope="row" style="{_CELL}font-weight:600;padding-right:16px;white-space:nowrap">{_safe(label)}</th>'
    return f'<tr style="background:none">{head}<td style="{_CELL}width:100%">{_prose(value)}</td></tr>'


def _prose(text: str) -> str:
    """Text in which what stands between backticks is set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _safe(text))


def _safe(text: str) -> str:
    return html.escape(visible(redact(text)))

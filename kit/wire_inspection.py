"""One frame under the magnifying glass: what each end saw of it, its payload, and what its bytes mean. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from kit.close_codes import code_words, name_of
from kit.json_tree import json_tree
from kit.printable import human_bytes, visible
from kit.timeline import Entry
from kit.wire_rows import FrameRow

__all__ = ["accept_steps", "inspected", "seen_words"]

PAYLOAD_LIMIT_BYTES = 2**20
_TEXT_LIMIT_CHARACTERS = 64 * 1024
_TREE_LIMIT_CHARACTERS = 256 * 1024
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def inspected(row: FrameRow, client: Entry | None, server: Entry | None, *, stranger: bool, key: str = "") -> dict[str, Any]:
    """What there is to know of a row beyond the row itself.

    Args:
        row: the frame or half of the handshake.
        client: what the client's end saw, while it is in the Timeline; server likewise.
        stranger: whether no client of this kernel made the connection.
        key: the request's Sec-WebSocket-Key, to explain the response's Sec-WebSocket-Accept.
    """
    known = client or server
    found: dict[str, Any] = {"key": row.key, "seen": seen_words(row, client, server, stranger=stranger)}
    if known is None:
        return found | {"payload": None, "payloadSays": "This frame has fallen out of the Timeline: only its row is left."}
    if row.kind == "handshake":
        return found | _handshake(known, key)
    holder = next((entry for entry in (server, client) if entry is not None and entry.payload is not None), known)
    found |= _payload(row, holder)
    if row.opcode == "CLOSE":
        code = known.details["code"]
        found["close"] = {
            "code": code,
            "name": name_of(code),
            "meaning": code_words(code).meaning,
            "reason": visible(known.details["reason"]),
            "sent": row.size > 0,
        }
    return found


def seen_words(row: FrameRow, client: Entry | None, server: Entry | None, *, stranger: bool) -> str:
    """What each end saw, and whether it was the same byte for byte."""
    writer, reader = ("client", "server") if row.direction == "up" else ("server", "client")
    known = {"client": row.client_entry, "server": row.server_entry}
    if stranger:
        return "Made by a stranger: only the server's end is known."
    if known[reader] is None:
        return f"Written by the {writer}, not yet read by the {reader}."
    if known[writer] is None:
        return f"Read by the {reader}; what the {writer}'s end saw is not in the Timeline any more."
    if client is None or server is None:
        return "Both ends saw it, but it has fallen out of the Timeline."
    return _equal_words(client, server) + _delay_words(row, reader)


def _equal_words(client: Entry, server: Entry) -> str:
    if client.kind in ("request", "response"):
        return _equal_heads(client, server)
    if client.details["header"] != server.details["header"] or (client.payload, client.text) != (server.payload, server.text):
        return "The ends saw different bytes: something between them changed the frame."
    header = len(client.details["header"]) // 2
    if client.payload is None:
        return f"Both ends saw the same header of {header} bytes; the payload has fallen out of the Timeline."
    if client.details.get("kept_once") or server.details.get("kept_once"):
        return f"Both ends saw the same header of {header} bytes. The payload is kept once for both: TCP delivers what was sent."
    return f"Both ends saw the same {header + client.size:,} bytes: {header} of header, {client.size:,} of payload."


def _equal_heads(client: Entry, server: Entry) -> str:
    ours, theirs = ((entry.details["start_line"], entry.details["headers"]) for entry in (client, server))
    if ours == theirs:
        return "Both ends saw the same start line and headers."
    if (ours[0], _in_lower_case(ours[1])) == (theirs[0], _in_lower_case(theirs[1])):
        return "Both ends saw the same start line and headers; the server has their names in lower case, which in HTTP makes no difference."
    return "The ends saw different headers: something between them changed the handshake."


def _in_lower_case(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers]


def _delay_words(row: FrameRow, reader: str) -> str:
    took = abs((row.server_seconds or 0.0) - (row.client_seconds or 0.0))
    return f" The {reader} had it {took * 1000:,.2f} ms later."


# Payloads.


def _payload(row: FrameRow, entry: Entry) -> dict[str, Any]:
    if entry.payload is None:
        return {"payload": None, "payloadSays": f"The payload of {human_bytes(row.size)} has fallen out of the Timeline; its beginning is in the list."}
    data = entry.payload.encode("utf-8", "surrogatepass") if isinstance(entry.payload, str) else entry.payload
    part = data[:PAYLOAD_LIMIT_BYTES]
    says = f"The first {human_bytes(len(part))} of {human_bytes(len(data))}." if len(part) < len(data) else ""
    if row.header and len(data) != row.size:
        says = f"The recording holds {human_bytes(len(data))} of {human_bytes(row.size)}: secrets are blotted out in it. {says}".strip()
    return {"payload": base64.b64encode(part).decode("ascii"), "payloadSays": says} | _readings(part, len(data))


def _readings(part: bytes, size: int) -> dict[str, Any]:
    """The payload as text and as a JSON tree, where it can be read like that."""
    try:
        text = part.decode("utf-8")
    except UnicodeDecodeError:
        return {"text": None, "tree": None}
    more = len(text) - _TEXT_LIMIT_CHARACTERS
    shown = visible(text[:_TEXT_LIMIT_CHARACTERS], keep="\n")
    whole = len(part) == size and len(text) <= _TREE_LIMIT_CHARACTERS
    return {"text": f"{shown}… {more:,} characters more" if more > 0 else shown, "tree": json_tree(text) if whole else None}


# The handshake.


def _handshake(entry: Entry, key: str) -> dict[str, Any]:
    headers = [(visible(name[:500]), visible(value[:4_000])) for name, value in entry.details["headers"][:130]]
    found: dict[str, Any] = {"startLine": visible(entry.details["start_line"][:4_000]), "headers": headers}
    found["moreHeaders"] = len(entry.details["headers"]) - len(headers)
    if entry.kind == "response":
        found["body"] = visible(entry.payload[:8_192].decode("utf-8", "replace"), keep="\n") if isinstance(entry.payload, bytes) else ""
        answer = next((value for name, value in entry.details["headers"] if name.lower() == "sec-websocket-accept"), "")
        found["accept"] = accept_steps(key, answer) if key and answer else None
    return found


def accept_steps(key: str, answer: str) -> dict[str, Any]:
    """How Sec-WebSocket-Accept comes from Sec-WebSocket-Key (RFC 6455 §4.2.2), step by step, and whether ``answer`` is right."""
    joined = key + _GUID
    digest = hashlib.sha1(joined.encode("latin-1", "replace"), usedforsecurity=False).digest()
    computed = base64.b64encode(digest).decode("ascii")
    steps = [
        ("The client's Sec-WebSocket-Key", visible(key[:200])),
        ("joined with the GUID of RFC 6455", visible(joined[:300])),
        ("SHA-1 of that", digest.hex(" ")),
        ("as base64", computed),
        ("the server's Sec-WebSocket-Accept", visible(answer[:200])),
    ]
    return {"steps": steps, "right": computed == answer}

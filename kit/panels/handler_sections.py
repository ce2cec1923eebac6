"""Which functions a HandlerPanel shows the source of, and in which of them a line stands."""

from __future__ import annotations

from typing import Any

from kit.connection import Connection
from kit.endpoints import Endpoint, Routing
from kit.listing import Listing, code_of, listing_of
from kit.suspension import Line

__all__ = ["Sections"]

_SECTIONS_LIMIT = 8
_VISITED_LIMIT = 5


class Sections:
    """The endpoints that have had connections, newest first, or all; what they depend on; and the functions that handlers are in."""

    def __init__(self) -> None:
        self._listings: dict[Any, Listing] = {}  # by what they are of
        self._served: dict[str, Listing] = {}  # the endpoints
        self._needed: dict[str, Listing] = {}  # their dependencies
        self._visited: dict[str, Listing] = {}  # the reader's other functions, in which handlers have been
        self._endpoints: list[Endpoint] = []
        self._routing: Routing | None = None
        self.hidden = 0  # how many more there are

    @property
    def shown(self) -> list[Listing]:
        """What is shown now, in its order."""
        return list((self._served | self._visited | self._needed).values())

    @property
    def paths(self) -> dict[str, str]:
        """The route's path of each listing that is an endpoint's, by the listing's key."""
        return {self._listing(endpoint.function).key: endpoint.path for endpoint in self._endpoints}

    def choose(self, endpoints: list[Endpoint], routing: Routing, connections: list[Connection]) -> None:
        """Follow these endpoints, by what connections they have had."""
        self._routing = routing
        newest = {id(routing.endpoint_of(connection.path)): connection.number for connection in connections}
        order = sorted(endpoints, key=lambda endpoint: -newest.get(id(endpoint), 0))
        self._endpoints = [endpoint for endpoint in order if id(endpoint) in newest] or endpoints
        served = {listing.key: listing for listing in [self._listing(endpoint.function) for endpoint in self._endpoints]}
        needed = {listing.key: listing for endpoint in self._endpoints for listing in map(self._listing, endpoint.dependencies)}
        self.hidden = max(0, len(served) - _SECTIONS_LIMIT) + max(0, len(needed) - _SECTIONS_LIMIT)
        self._served, self._needed = dict(list(served.items())[:_SECTIONS_LIMIT]), dict(list(needed.items())[:_SECTIONS_LIMIT])

    def place(self, line: Line | None, path: str) -> tuple[str, int]:
        """The key and line number of where ``line`` is shown; without one, of the head of the endpoint that serves ``path``."""
        if line is None:
            endpoint = self._routing.endpoint_of(path) if self._routing is not None else None
            listing = self._listing(endpoint.function) if endpoint is not None else None
            return (listing.key, listing.head_line) if listing is not None else ("", 0)
        listing = next((listing for listing in self.shown if listing.holds(*line)), None) or self._visit(line)
        return listing.key, line.number if listing.lines else 0

    def _visit(self, line: Line) -> Listing:
        listing = self._listing(line.code)
        self._visited[listing.key] = listing
        if len(self._visited) > _VISITED_LIMIT:
            del self._visited[next(iter(self._visited))]
        return listing

    def _listing(self, function: Any) -> Listing:
        known = code_of(function) if not isinstance(function, type) else function
        if known not in self._listings:
            self._listings[known] = listing_of(function)
        return self._listings[known]

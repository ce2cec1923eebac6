"""The book of connections: both ends of a socket find the same number, whoever asks first and whoever had its address before."""

from __future__ import annotations

from kit.connection import Connection
from kit.connection_book import ConnectionBook


def test_both_ends_of_a_socket_find_the_same_connection() -> None:
    book = ConnectionBook()
    address = ("127.0.0.1", 50_000)
    server_end = book.open_connection(address)
    assert (server_end.number, server_end.name, server_end.open) == (1, "stranger", True)
    client_end = book.open_connection(address, name="Ana", path="/ws")
    assert client_end is server_end
    assert (server_end.name, server_end.path) == ("Ana", "/ws")
    assert book.open_connection(("127.0.0.1", 50_001)).number == 2


def test_an_address_that_is_used_again_is_a_new_connection() -> None:
    book = ConnectionBook()
    first = book.open_connection("address")
    book.end_connection("address", first)
    book.end_connection("address", first)  # the other end says the same
    assert not first.open
    second = book.open_connection("address")
    assert (second.number, second.open) == (2, True)
    book.end_connection("address", first)  # a late goodbye of the old one must not end the new one
    assert book.open_connection("address") is second


def test_only_the_newest_thousand_connections_are_listed_and_numbers_go_on() -> None:
    book = ConnectionBook()
    for address in range(1_200):
        book.end_connection(address, book.open_connection(address))
    assert [connection.number for connection in book.connections] == list(range(201, 1_201))


def test_a_connection_is_open_until_it_has_an_end() -> None:
    connection = Connection(7)
    assert (connection.open, connection.number) == (True, 7)
    connection.ended_seconds = 1.5
    assert not connection.open

"""Ports are held, not guessed."""

from __future__ import annotations

import socket

import pytest

from client.errors import StackFailed
from client.stack.ports import free_port, listen, url_of


def test_port_zero_takes_a_free_one() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_taken_port_is_refused_with_a_way_out() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(StackFailed, match=r"is taken; .* another --port"):
        listen("127.0.0.1", first.getsockname()[1])


def test_a_host_that_is_not_ours_is_refused() -> None:
    with pytest.raises(StackFailed, match=r"cannot listen on 203\.0\.113\.1"):
        listen("203.0.113.1", 0)


def test_every_address_is_reached_by_loopback() -> None:
    with listen("0.0.0.0", 0) as listener:  # noqa: S104  # what is tested
        assert url_of(listener).startswith("http://127.0.0.1:")


def test_a_free_port_is_never_one_that_outgoing_connections_get() -> None:
    assert 20_000 <= free_port() < 30_000

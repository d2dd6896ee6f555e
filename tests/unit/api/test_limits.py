"""What is left of a body that nobody read: dropped, for a while, after the answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.conftest import Api


class Body:
    """A body that a server hands over, and the connection that it comes from."""

    def __init__(self, pieces: list[bytes | Exception]) -> None:
        self.pieces = pieces
        self.timeouts: list[float | None] = []

    def read(self, size: int = -1) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        assert len(piece) <= size
        return piece

    def gettimeout(self) -> None:
        return None

    def settimeout(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)


def send(api: Api, path: str, body: Body, *, is_bounded: bool = True) -> int:
    environ: dict[str, Any] = {"wsgi.input": body, "gunicorn.socket": body}
    if is_bounded:
        environ["wsgi.input_terminated"] = True
    headers = {"Content-Type": "application/json", "Content-Length": str(2**20)}
    with api.client.post(path, headers=headers, environ_overrides=environ) as response:
        # The answer is out before anything more is read.
        assert body.pieces
        return response.status_code


def test_what_is_left_of_a_refused_body_is_dropped(api: Api) -> None:
    body = Body([b"x" * 2**16] * 16)

    assert send(api, "/v1/nowhere", body) == 404
    assert body.pieces == []


def test_a_caller_that_sends_nothing_more_or_hangs_up_does_not_keep_the_thread(api: Api) -> None:
    for error in (TimeoutError("silence"), ConnectionResetError("gone")):
        body = Body([b"x", error, b"y"])

        assert send(api, "/v1/nowhere", body) == 404
        assert body.timeouts == [5.0, None]


def test_a_body_without_end_is_dropped_for_a_while_only(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits._PATIENCE_S", 0.05)
    endless = Body([b"x"])
    endless.read = lambda size=-1: b"x"  # type: ignore[method-assign]

    assert send(api, "/v1/nowhere", endless) == 404


def test_nothing_is_read_from_a_server_that_does_not_know_where_a_body_ends(api: Api) -> None:
    body = Body([b"x"])

    assert send(api, "/v1/nowhere", body, is_bounded=False) == 404
    assert body.pieces == [b"x"]

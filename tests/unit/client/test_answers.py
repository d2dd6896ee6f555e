"""What an answer that is no success means."""

from __future__ import annotations

import httpx
import pytest

from client.answers import failure
from client.errors import RateLimited, ServiceUnreachable


@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimited), (503, ServiceUnreachable), (507, ServiceUnreachable)]
)
def test_an_error_tells_when_the_service_wants_to_be_asked_again(status: int, kind: type[Exception]) -> None:
    told = failure(httpx.Response(status, headers={"Retry-After": "17"}, json={"detail": "no"}), "http://x")
    untold = failure(
        httpx.Response(status, headers={"Retry-After": "soon"}, json={"detail": "no"}), "http://x"
    )

    assert type(told) is kind
    assert (told.retry_after_s, untold.retry_after_s) == (17.0, None)

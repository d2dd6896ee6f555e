"""What an answer that is no success means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from client.answers import failure, retry_after_s
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


@pytest.mark.parametrize(
    ("ahead", "seconds"), [(timedelta(seconds=90), 90), (timedelta(hours=-1), 0)], ids=["ahead", "past"]
)
def test_a_proxy_may_say_when_to_come_back_as_a_date(ahead: timedelta, seconds: float) -> None:
    date = format_datetime(datetime.now(UTC) + ahead, usegmt=True)

    after_s = retry_after_s(httpx.Response(503, headers={"Retry-After": date}))

    assert after_s == pytest.approx(seconds, abs=5)

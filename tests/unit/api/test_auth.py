from __future__ import annotations

from collections.abc import Callable

import pytest

from api.app import create_app
from api.auth import is_loopback, needs_keys, require_safe_bind
from api.settings import ApiSettings
from shared.errors import BadConfiguration
from tests.unit.api.conftest import Api
from tests.unit.api.problems import refused


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_keys(host: str) -> None:
    require_safe_bind(ApiSettings(api_host=host))
    assert not needs_keys(ApiSettings(api_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", "", "127.0.0.1.example.org"])  # noqa: S104
def test_the_network_is_asked_for_keys(host: str) -> None:
    assert needs_keys(ApiSettings(api_host=host))
    with pytest.raises(BadConfiguration, match="ICONOTEXT_ALLOW_UNAUTHENTICATED"):
        create_app(ApiSettings(api_host=host, require_keys=False))


def test_an_operator_may_allow_it() -> None:
    require_safe_bind(ApiSettings(api_host="0.0.0.0", allow_unauthenticated=True))  # noqa: S104
    assert not is_loopback("0.0.0.0")  # noqa: S104


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"])
def test_loopback_names_are_answered(api: Api, host: str) -> None:
    assert api.client.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "10.0.0.1", "[::2]", "]["],
)
def test_a_name_that_only_resolves_to_loopback_is_refused(api: Api, host: str) -> None:
    response = api.client.get("/v1/jobs", headers={"Host": host})

    refused(response, 421, "host_not_allowed")


def test_an_allowed_name_is_answered(make_api: Callable[..., Api]) -> None:
    api = make_api(allowed_hosts="pictures.example, Other.example")

    assert api.client.get("/livez", headers={"Host": "other.example:443"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999", "http://["])
def test_a_page_of_another_origin_cannot_submit(api: Api, origin: str) -> None:
    response = api.client.post(
        "/v1/jobs", json={"task": "embed", "input": {"texts": ["a"]}}, headers={"Origin": origin}
    )

    refused(response, 403, "origin_not_allowed")
    assert api.written() == (0, 0, 0, 0)


def test_our_own_page_can_submit(api: Api) -> None:
    response = api.client.post(
        "/v1/jobs", json={"task": "embed", "input": {"texts": ["a"]}}, headers={"Origin": "http://localhost"}
    )

    assert response.status_code == 202

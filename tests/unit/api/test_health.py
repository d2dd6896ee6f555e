from __future__ import annotations

from collections.abc import Callable

import pytest

from api.answers import Liveness, Readiness
from shared.errors import StoreUnavailable
from shared.jobs import WorkerId
from tests.unit.api.conftest import Api
from tests.unit.api.problems import refused


def test_a_living_process_says_so(api: Api) -> None:
    assert Liveness.model_validate(api.client.get("/livez").get_json())


def test_readiness_counts_the_workers(api: Api) -> None:
    api.services.store.announce(WorkerId("w1"), {"pools": ["default"]})

    answer = api.client.get("/readyz").get_json()

    assert Readiness.model_validate(answer, strict=True)
    assert answer == {
        "status": "ok",
        "checks": {"database": "ok", "queue": "ok", "disk": "ok", "secret": "ok", "workers": 1},
    }


def test_without_the_queue_the_service_is_degraded_but_ready(api: Api) -> None:
    api.hints.is_down = True

    response = api.client.get("/readyz")

    assert (response.status_code, response.get_json()["status"]) == (200, "degraded")
    assert response.get_json()["checks"]["queue"] == "down"


def test_with_a_disk_full_the_service_is_degraded_but_ready(make_api: Callable[..., Api]) -> None:
    api = make_api(disk_reserve_bytes=2**60)

    response = api.client.get("/readyz")

    assert (response.status_code, response.get_json()["status"]) == (200, "degraded")
    assert response.get_json()["checks"]["disk"] == "full"


def test_without_the_database_the_service_is_alive_but_not_ready(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(type(api.services.store), "ping", fail)

    refused(api.client.get("/readyz"), 503, "store_unavailable")
    assert api.client.get("/livez").status_code == 200

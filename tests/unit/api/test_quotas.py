"""What a tenant may have: told beforehand, refused beyond, and nobody else's business."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from api.quotas import QuotaKeeper
from api.settings import ApiSettings
from shared.errors import StorageQuotaExceeded, StoreUnavailable, TooManyRequests
from shared.jobs import LOCAL, TenantId
from shared.keys import Scope, new_key
from shared.store import Quotas
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import png
from tests.unit.api.problems import refused

ACME = TenantId("acme")
EMBED = {"task": "embed", "input": {"texts": ["a"]}}


def _keeper(quotas: Quotas, stored: int = 0, clock: Callable[[], float] = lambda: 0.0) -> QuotaKeeper:
    return QuotaKeeper(ApiSettings(), quotas=lambda _: quotas, stored_bytes=lambda _: stored, clock=clock)


def test_without_a_rate_nothing_is_counted_or_told(api: Api) -> None:
    response = api.client.post("/v1/jobs", json=EMBED)

    assert response.status_code == 202
    assert not {"RateLimit", "RateLimit-Policy"} & set(response.headers.keys())


def test_a_rate_is_told_and_what_is_left_of_it(make_api: Callable[..., Api]) -> None:
    api = make_api(requests_per_minute=100, jobs_per_minute=5)

    api.client.get("/v1/jobs")
    response = api.client.post("/v1/jobs", json=EMBED)

    assert response.headers["RateLimit-Policy"] == '"requests";q=100;w=60, "jobs";q=5;w=60'
    told = re.fullmatch(r'"requests";r=98;t=(\d+), "jobs";r=4;t=(\d+)', response.headers["RateLimit"])
    assert told, response.headers["RateLimit"]
    assert all(0 <= int(seconds) <= 60 for seconds in told.groups())


def test_one_request_too_many_is_refused_and_told_when_to_come_back(make_api: Callable[..., Api]) -> None:
    api = make_api(requests_per_minute=3)
    for _ in range(3):
        assert api.client.get("/v1/jobs").status_code == 200

    response = api.client.get("/v1/jobs")

    refused(response, 429, "rate_limited")
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert response.headers["RateLimit"].startswith('"requests";r=0;')
    # Probes are nobody's.
    assert api.client.get("/livez").status_code == 200


def test_a_batch_counts_as_many_jobs_as_it_holds_all_or_none(make_api: Callable[..., Api]) -> None:
    api = make_api(jobs_per_minute=5)

    assert api.client.post("/v1/jobs:batch", json=[EMBED] * 3).status_code == 207
    refused(api.client.post("/v1/jobs:batch", json=[EMBED] * 3), 429, "rate_limited")
    assert api.client.post("/v1/jobs:batch", json=[EMBED] * 2).status_code == 207
    refused(api.client.post("/v1/jobs", json=EMBED), 429, "rate_limited")
    assert api.written()[0] == 5


def test_more_jobs_at_once_than_a_minute_allows_can_never_be_accepted() -> None:
    with pytest.raises(TooManyRequests, match="send fewer"):
        _keeper(Quotas(jobs_per_minute=5)).take_jobs(ACME, 6)


def test_one_tenant_does_not_use_up_anothers_rate() -> None:
    keeper = _keeper(Quotas(requests_per_minute=1))
    keeper.take_request(ACME)

    keeper.take_request(LOCAL)

    with pytest.raises(TooManyRequests):
        keeper.take_request(ACME)


def test_a_tenants_own_quota_goes_before_the_services(make_api: Callable[..., Api]) -> None:
    api = make_api(require_keys=True, jobs_per_minute=1)
    api.services.store.set_quotas(ACME, Quotas(jobs_per_minute=2, queued_jobs=2))
    key = new_key()
    api.services.store.add_key(key, ACME, name="test", scopes=list(Scope), lives=None)
    bearer = {"Authorization": f"Bearer {key.token}"}

    for _ in range(2):
        assert api.client.post("/v1/jobs", json=EMBED, headers=bearer).status_code == 202
    refused(api.client.post("/v1/jobs", json=EMBED, headers=bearer), 429, "too_many_jobs")


def test_a_tenants_own_mark_of_waiting_jobs_is_its_own(make_api: Callable[..., Api]) -> None:
    api = make_api()
    api.services.store.set_quotas(LOCAL, Quotas(queued_jobs=1))

    assert api.client.post("/v1/jobs", json=EMBED).status_code == 202
    refused(api.client.post("/v1/jobs", json=EMBED), 429, "too_many_jobs")


def test_a_new_quota_works_within_two_seconds() -> None:
    now, quotas = [0.0], [Quotas()]
    keeper = QuotaKeeper(
        ApiSettings(), quotas=lambda _: quotas[0], stored_bytes=lambda _: 0, clock=lambda: now[0]
    )
    keeper.take_request(ACME)
    quotas[0] = Quotas(requests_per_minute=1)
    keeper.take_request(ACME)
    now[0] = 2.0

    keeper.take_request(ACME)

    with pytest.raises(TooManyRequests):
        keeper.take_request(ACME)


def test_what_is_kept_is_bounded(make_api: Callable[..., Api]) -> None:
    api = make_api(max_stored_bytes=1_000)
    small, large = png(2, 2), b"\0" * 1_001
    assert len(small) < 1_000

    assert api.client.post("/v1/files", data=small, content_type="image/png").status_code == 201
    refused(api.client.post("/v1/files", data=large, content_type="image/png"), 403, "storage_quota_exceeded")
    # Looking and deleting go on.
    assert api.client.get("/v1/jobs").status_code == 200


def test_uploads_between_two_looks_count_at_once() -> None:
    keeper = _keeper(Quotas(stored_bytes=100), stored=50)
    keeper.require_storage(ACME, 40)

    with pytest.raises(StorageQuotaExceeded, match="delete"):
        keeper.require_storage(ACME, 20)


def test_a_store_that_is_away_says_so_and_answers_still_go_out(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(requests_per_minute=10)

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(type(api.services.quotas), "_look", away)

    refused(api.client.get("/v1/jobs"), 503, "store_unavailable")

"""What operators see: the fleet, and the same for Prometheus."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api import answers
from api.admission import Marks, Waiting
from api.fleet import Fleet
from api.measures import Measures
from shared.errors import StoreUnavailable
from shared.jobs import WorkerId
from shared.store import Load
from tests.unit.api.conftest import Api
from tests.unit.api.problems import refused

MODEL = {
    "capability": "ImageEncoder", "id": "lite0", "bytes": 20_000_000, "keep": True, "resident": True,
    "loads": 2, "evictions": 1,
}  # fmt: skip
WORKER: dict[str, Any] = {
    "host": "box", "pid": 7, "pools": ["default", "gpu"], "slots": 4, "profile": "starter",
    "tasks": ["embed"], "device": "cpu", "memory_bytes": 300_000_000,
    "missing": {"Captioner": "folder /m is not there"},
    "models": {"ImageEncoder": {"id": "lite0", "revision": "1", "grade": "starter"}},
    "engine": {
        "batches": {"ImageEncoder.encode_images": {1: 3, 8: 2}}, "items": 19, "busy_seconds": 1.5,
        "waiting": 2, "residency": [MODEL],
    },
}  # fmt: skip
EMBED = {"task": "embed", "input": {"texts": ["a"]}}


def system(api: Api) -> dict[str, Any]:
    answer = api.client.get("/v1/system").get_json()
    assert answers.System.model_validate(answer, strict=True)
    return dict(answer)


def samples(api: Api) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and its labels' values, in the order of the labels' names."""
    response = api.client.get("/metrics")
    assert response.status_code == 200, response.get_data(as_text=True)
    assert response.mimetype == "text/plain"
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.get_data(as_text=True))
        for sample in family.samples
    }


def test_each_worker_is_shown_with_its_models_and_its_work(api: Api) -> None:
    api.services.store.announce(WorkerId("w1"), WORKER)

    [worker] = system(api)["workers"]

    assert (worker["id"], worker["host"], worker["pid"], worker["device"]) == ("w1", "box", 7, "cpu")
    assert (worker["pools"], worker["slots"], worker["profile"]) == (["default", "gpu"], 4, "starter")
    assert (worker["memory_bytes"], worker["models"]) == (300_000_000, [MODEL])
    assert (worker["tasks"], worker["missing"]) == (["embed"], {"Captioner": "folder /m is not there"})
    assert worker["batches"] == {"ImageEncoder.encode_images": {"1": 3, "8": 2}}
    assert (worker["items"], worker["busy_seconds"], worker["waiting"]) == (19, 1.5, 2)


def test_each_pool_has_its_backlog_and_a_number_to_scale_by(api: Api) -> None:
    api.services.store.announce(WorkerId("w1"), WORKER)
    api.services.store.announce(WorkerId("w2"), {**WORKER, "pools": ["default"], "slots": 2})
    api.client.post("/v1/jobs:batch", json=[EMBED] * 9)

    answer = system(api)

    assert answer["backlog"] == {"default": 9, "gpu": 0}
    assert answer["scaling"] == {
        "default": {"queued": 9, "workers": 2, "slots": 6, "busy_seconds": 3.0, "queued_per_slot": 1.5},
        "gpu": {"queued": 0, "workers": 1, "slots": 4, "busy_seconds": 1.5, "queued_per_slot": 0.0},
    }


def test_a_pool_without_a_worker_shows_what_a_first_one_would_have(api: Api) -> None:
    assert system(api)["scaling"]["default"]["queued_per_slot"] == 0
    api.client.post("/v1/jobs:batch", json=[EMBED] * 3)

    assert system(api)["scaling"]["default"] == {
        "queued": 3, "workers": 0, "slots": 0, "busy_seconds": 0, "queued_per_slot": 3.0,
    }  # fmt: skip


def test_a_backlog_is_not_counted_without_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.fleet.LARGEST_BACKLOG", 2)
    api.client.post("/v1/jobs:batch", json=[EMBED] * 3)

    assert system(api)["backlog"] == {"default": 2}


def test_a_worker_that_says_little_is_shown_all_the_same(api: Api) -> None:
    api.services.store.announce(WorkerId("w1"), {})

    [worker] = system(api)["workers"]

    assert (worker["models"], worker["memory_bytes"], worker["slots"]) == ([], None, 0)
    assert samples(api)


def test_the_metrics_tell_of_pools_workers_models_and_batches(api: Api) -> None:
    api.services.store.announce(WorkerId("w1"), WORKER)
    api.client.post("/v1/jobs:batch", json=[EMBED] * 8)

    found = samples(api)

    wanted = {
        ("iconotext_backlog_jobs", "default"): 8,
        ("iconotext_queued_per_slot", "default"): 2,
        ("iconotext_workers", "gpu"): 1,
        ("iconotext_slots", "default"): 4,
        ("iconotext_worker_memory_bytes", "w1"): 300_000_000,
        ("iconotext_waiting_items", "w1"): 2,
        ("iconotext_busy_seconds_total", "w1"): 1.5,
        ("iconotext_model_bytes", "ImageEncoder", "lite0", "w1"): 20_000_000,
        ("iconotext_model_loads_total", "ImageEncoder", "lite0", "w1"): 2,
        ("iconotext_model_evictions_total", "ImageEncoder", "lite0", "w1"): 1,
        ("iconotext_batches_total", "ImageEncoder.encode_images", "w1"): 5,
        ("iconotext_batch_items_total", "ImageEncoder.encode_images", "w1"): 19,
    }
    assert {name: found.get(name) for name in wanted} == wanted


def test_a_model_that_is_not_resident_takes_no_memory(api: Api) -> None:
    lazy = {**MODEL, "resident": False, "keep": False}
    api.services.store.announce(WorkerId("w1"), {"engine": {"residency": [lazy]}})

    assert samples(api)["iconotext_model_bytes", "ImageEncoder", "lite0", "w1"] == 0


def test_requests_are_counted_by_route_and_status_and_timed(api: Api) -> None:
    api.client.post("/v1/jobs", json=EMBED)
    api.client.post("/v1/jobs", json={})
    for name in ("a", "b"):
        api.client.get(f"/v1/jobs/job_{name * 32}")

    found = samples(api)

    count = "iconotext_http_request_duration_seconds_count"
    assert found[count, "POST", "/v1/jobs", "202"] == 1
    assert found[count, "POST", "/v1/jobs", "422"] == 1
    assert found[count, "GET", "/v1/jobs/<job:job_id>", "404"] == 2
    assert found["iconotext_http_request_duration_seconds_bucket", "+Inf", "POST", "/v1/jobs", "202"] == 1


def test_what_waits_and_how_much_may_is_shown(make_api: Callable[..., Api]) -> None:
    api = make_api(max_queued_jobs_of_all=50, max_queued_bytes_of_all=10_000)
    for _ in range(3):
        api.client.post("/v1/jobs", json=EMBED)

    found = samples(api)

    assert (found["iconotext_queued_jobs",], found["iconotext_queued_jobs_mark",]) == (3, 50)
    assert found["iconotext_queued_bytes_mark",] == 10_000


def test_requests_that_are_told_to_come_back_are_counted_by_code(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(max_queued_jobs=1)
    for _ in range(3):
        api.client.post("/v1/jobs", json=EMBED)
    api.client.post("/v1/files", data=b"no image")
    monkeypatch.setattr(type(api.services.blobs), "free_bytes", lambda _: 0)
    full = make_api()
    full.client.post("/v1/files", data=b"no image")

    counted = [name for name in samples(api) if name[0] == "iconotext_refusals_total"]
    assert counted == [("iconotext_refusals_total", "too_many_jobs")]
    assert samples(api)["iconotext_refusals_total", "too_many_jobs"] == 2
    assert samples(full)["iconotext_refusals_total", "blobs_full"] == 1


def test_callers_cannot_make_the_metrics_grow(api: Api) -> None:
    before = len(samples(api))
    for word in ("a", "b", "c"):
        api.client.get(f"/{word}")
        api.client.open("/v1/jobs", method=word.upper())
    once = len(samples(api))
    for word in ("d", "e", "f"):
        api.client.get(f"/{word}")
        api.client.open("/v1/jobs", method=word.upper())

    assert len(samples(api)) == once > before


def test_two_apps_in_one_process_do_not_share_their_counts(make_api: Callable[..., Api]) -> None:
    one, other = make_api(), make_api()
    one.client.get("/livez")

    key = ("iconotext_http_request_duration_seconds_count", "GET", "/livez", "200")
    assert samples(one)[key] == 1
    assert key not in samples(other)


@pytest.mark.parametrize("path", ["/v1/system", "/metrics"])
def test_with_the_database_away_there_is_nothing_to_show(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(type(api.services.store), "workers", fail)

    refused(api.client.get(path), 503, "store_unavailable")


def test_the_measures_are_made_with_the_database_away() -> None:
    def fail() -> Fleet:
        raise StoreUnavailable("the database does not answer")

    measures = Measures(fail, lambda: Waiting(load=Load(), marks=Marks(jobs=1, bytes=1)))

    with pytest.raises(StoreUnavailable):
        measures.exposition()


def test_importing_the_measures_registers_nothing() -> None:
    check = """
import prometheus_client
before = len(prometheus_client.REGISTRY._collector_to_names)
import api.measures, api.system
assert len(prometheus_client.REGISTRY._collector_to_names) == before
"""
    subprocess.run([sys.executable, "-c", check], timeout=60, check=True)

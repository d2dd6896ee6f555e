"""Jobs are waited for in few requests, one by one or by the thousand."""

from __future__ import annotations

import json

import httpx
import pytest

from client import Client, Job, RequestRefused, Submission, WaitTimeout
from tests.unit.client.fake_service import FakeService


@pytest.fixture
def ids(client: Client) -> list[str]:
    """Return the ids of 2,500 queued jobs."""
    jobs = client.submit_many([Submission("match", {})] * 2_500)
    return [job.id for job in jobs if isinstance(job, Job)]


def looks(service: FakeService) -> list[dict[str, object]]:
    return [json.loads(request.content) for request in service.sent_to("/v1/jobs:get")]


def test_a_quick_job_is_one_request(client: Client, service: FakeService) -> None:
    service.changes = [{"status": "succeeded", "version": 2, "result": {"dim": 1}}]

    job = client.run("match", {"texts": ["a"]}, top_k=2)

    assert job.result == {"dim": 1}
    [request] = service.requests
    assert request.headers["prefer"] == "wait=20"
    assert service.body()["input"] == {"texts": ["a"], "top_k": 2}


def test_a_slow_job_is_watched_to_its_end(client: Client, service: FakeService) -> None:
    service.changes = [{"status": "running", "version": 2}, {}, {"status": "failed", "version": 3}]

    assert client.run("match", {"texts": ["a"]}).status == "failed"
    assert [request.method for request in service.requests] == ["POST", "GET", "GET"]


def test_run_gives_up_after_its_timeout(client: Client, service: FakeService) -> None:
    with pytest.raises(WaitTimeout, match=r"still queued after 0.01 s"):
        client.run("match", {}, timeout=0.01)


def test_without_an_audience_only_the_end_of_a_job_is_asked_for(client: Client, service: FakeService) -> None:
    job = client.submit("match", {})
    service.changes = [{"status": "running", "version": 2}, {"status": "succeeded", "version": 4}]

    assert client.watch(job.id).succeeded

    looks = service.sent_to("/v1/jobs/job_1")
    assert [float(look.url.params["wait"]) for look in looks] == [20.0, 20.0]
    assert not any("if-none-match" in look.headers for look in looks)


def test_jobs_are_read_by_the_thousand_and_in_order(
    client: Client, service: FakeService, ids: list[str]
) -> None:
    jobs = client.get_many([*reversed(ids), "unknown"])

    assert [job.id for job in jobs[:-1] if job is not None] == ids[::-1]
    assert jobs[-1] is None
    assert [len(look["ids"]) for look in looks(service)] == [1_000, 1_000, 501]  # type: ignore[arg-type]
    assert not any("wait_s" in look for look in looks(service))


def test_reading_many_is_tried_again_when_it_broke_off(
    client: Client, service: FakeService, ids: list[str]
) -> None:
    service.script = [httpx.ReadError("reset")]
    assert len(client.get_many(ids[:3])) == 3


def test_reading_many_can_wait_for_their_end(client: Client, service: FakeService, ids: list[str]) -> None:
    assert all(job is not None and job.succeeded for job in client.get_many(ids[:5], wait=500))
    # What the service grants at most.
    assert looks(service) == [{"ids": ids[:5], "wait_s": 60.0}]


def test_waiting_for_many_returns_all_in_the_order_of_the_ids(
    client: Client, service: FakeService, ids: list[str]
) -> None:
    service.pace = 400
    seen: list[str] = []

    jobs = client.wait_many(ids[::-1], on_progress=lambda job: seen.append(job.id))

    assert [job.id for job in jobs] == ids[::-1]
    assert all(job.succeeded for job in jobs)
    assert sorted(seen) == sorted(ids)


def test_jobs_that_do_not_end_hold_up_no_others(client: Client, service: FakeService, ids: list[str]) -> None:
    stuck = set(ids[:1_000])
    for job_id in stuck:
        service.many[job_id]["status"] = "running"

    found = client.as_completed(ids)

    assert {next(found).id for _ in range(1_500)} == set(ids[1_000:])


def test_what_has_ended_is_not_asked_for_again(client: Client, service: FakeService, ids: list[str]) -> None:
    service.pace = 7

    list(client.as_completed(ids[:20]))

    assert [len(look["ids"]) for look in looks(service)] == [20, 13, 6]  # type: ignore[arg-type]


def test_a_job_named_twice_is_returned_twice(client: Client, ids: list[str]) -> None:
    assert [job.id for job in client.wait_many([ids[0], ids[0]])] == [ids[0], ids[0]]


def test_waiting_for_many_ends_when_the_time_is_over(
    client: Client, service: FakeService, ids: list[str]
) -> None:
    service.pace = 0
    with pytest.raises(WaitTimeout, match="many_0 is still queued and 2 more have not ended"):
        client.wait_many(ids[:3], timeout=0.01)


def test_an_unknown_job_is_said_after_the_others_of_its_round(client: Client, ids: list[str]) -> None:
    found = client.as_completed([ids[0], "unknown"])

    assert next(found).id == ids[0]
    with pytest.raises(RequestRefused, match="no job 'unknown'"):
        next(found)


def test_waiting_for_many_bears_a_restart_of_the_service(
    client: Client, service: FakeService, ids: list[str]
) -> None:
    service.script = [*[httpx.ReadError("gone")] * 7, *[httpx.ConnectError("refused")] * 7]

    assert len(client.wait_many(ids[:3])) == 3


def test_an_answer_of_the_cache_says_whose_it_is(client: Client, service: FakeService) -> None:
    service.job |= {"status": "succeeded", "cached_from": "job_0"}
    assert client.get("job_1").cached_from == "job_0"

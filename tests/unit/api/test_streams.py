"""What a stream of events promises: the whole job at once, each change, the end with its result."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.jobs import LOCAL, JobId, Progress, Success
from tests.unit.api.conftest import WORKER, Api
from tests.unit.api.problems import refused

EMBED = {"task": "embed", "input": {"texts": ["a"]}}


def _submit(api: Api) -> JobId:
    return JobId(api.client.post("/v1/jobs", json=EMBED).get_json()["id"])


def _open(api: Api, job: JobId, **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return api.client.get(f"/v1/jobs/{job}/events", headers=named, buffered=False)


def _events(response: TestResponse) -> Iterator[dict[str, Any]]:
    """Yield what is told: fields by name, `comment` for a comment."""
    text = ""
    for chunk in response.response:
        text += chunk.decode() if isinstance(chunk, bytes) else chunk
        while "\n\n" in text:
            block, text = text.split("\n\n", 1)
            yield dict(_field(line) for line in block.split("\n"))


def _field(line: str) -> tuple[str, Any]:
    name, value = ("comment", line) if line.startswith(":") else line.split(": ", 1)
    return name, json.loads(value) if name == "data" else value


def _finish(api: Api) -> JobId:
    claim = api.claim()
    api.services.store.succeed(claim, Success(result={"dim": 3}))
    return claim.id


def test_a_queued_job_is_told_at_once_and_whole(api: Api) -> None:
    job = _submit(api)
    with _open(api, job) as response:
        events = _events(response)
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert next(events) == {"retry": "2000"}
        first = next(events)

    assert (first["id"], first["event"]) == ("1", "job")
    assert first["data"] == api.client.get(f"/v1/jobs/{job}").get_json()
    assert first["data"]["queue"]["position"] == 0
    assert first["data"]["links"]["events"] == f"/v1/jobs/{job}/events"


def test_each_change_is_told_and_the_last_has_the_result(api: Api) -> None:
    job = _submit(api)
    told = []
    with _open(api, job) as response:
        events = _events(response)
        told += [next(events), next(events)]
        claim = api.claim()
        told.append(next(events))
        api.services.store.heartbeat(
            WORKER, {job: claim.attempt}, {job: Progress(fraction=0.5, stage="extract", message="half")}
        )
        told.append(next(events))
        api.services.store.succeed(claim, Success(result={"dim": 3}))
        told += list(events)

    jobs = [event["data"] for event in told[1:]]
    assert [job["status"] for job in jobs] == ["queued", "running", "running", "succeeded"]
    assert jobs[2]["progress"]["message"] == "half"
    assert jobs[-1]["result"] == {"dim": 3}
    versions = [int(event["id"]) for event in told[1:]]
    assert versions == sorted(set(versions))
    assert all(int(event["id"]) == event["data"]["version"] for event in told[1:])


def test_an_ended_job_is_told_once(api: Api) -> None:
    _submit(api)
    job = _finish(api)

    with _open(api, job) as response:
        told = list(_events(response))

    assert [event.get("event") for event in told] == [None, "job"]
    assert told[1]["data"]["result"] == {"dim": 3}


def test_whoever_knows_the_end_is_told_to_stop(api: Api) -> None:
    _submit(api)
    job = _finish(api)
    version = api.services.store.get(LOCAL, job).version

    with _open(api, job, Last_Event_ID=str(version)) as response:
        assert (response.status_code, response.get_data()) == (204, b"")


def test_whoever_comes_back_is_told_what_is_new_only(api: Api) -> None:
    job = _submit(api)
    with _open(api, job, Last_Event_ID="1") as response:
        events = _events(response)
        assert next(events) == {"retry": "2000"}
        api.services.store.cancel(LOCAL, job)
        told = list(events)

    assert [event["data"]["status"] for event in told] == ["canceled"]


def test_a_quiet_stream_is_kept_alive(make_api: Callable[..., Api]) -> None:
    api = make_api(api_heartbeat=timedelta(milliseconds=20))
    with _open(api, _submit(api)) as response:
        events = _events(response)
        told = [next(events) for _ in range(4)]

    assert told[2:] == [{"comment": ": heartbeat"}] * 2


def test_a_job_that_is_deleted_meanwhile_is_gone(api: Api) -> None:
    job = _submit(api)
    with _open(api, job) as response:
        events = _events(response)
        next(events)
        next(events)
        api.services.store.delete(LOCAL, job)
        told = list(events)

    assert told == [{"event": "gone", "data": {}}]


def test_an_unknown_job_is_not_found(api: Api) -> None:
    refused(_open(api, JobId(f"job_{'0' * 32}")), 404, "not_found")


def test_a_stream_leaves_its_seat_however_it_ends(make_api: Callable[..., Api]) -> None:
    api = make_api(api_threads=5)
    job = _submit(api)
    with _open(api, job) as first:
        next(iter(first.response))
        response = _open(api, job)
        refused(response, 503, "overloaded")
        assert int(response.headers["Retry-After"]) >= 1

    # Not a single event was asked for.
    for _ in range(3):
        _open(api, job).close()
    assert api.services.watcher._seats.taken() == 0


def test_head_is_answered_without_a_stream(make_api: Callable[..., Api]) -> None:
    api = make_api(api_threads=5)
    response = api.client.head(f"/v1/jobs/{_submit(api)}/events")

    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    assert api.services.watcher._seats.taken() == 0


def test_a_service_that_stops_ends_its_streams(api: Api) -> None:
    with _open(api, _submit(api)) as response:
        events = _events(response)
        next(events)
        next(events)
        stopping = threading.Timer(0.05, api.services.watcher.close)
        stopping.start()

        assert list(events) in ([], [{"comment": ": heartbeat"}])
        stopping.join()


@pytest.mark.parametrize("changes", [50])
def test_many_changes_are_few_events(api: Api, changes: int) -> None:
    job = _submit(api)
    claim = api.claim()
    done = threading.Event()

    def work() -> None:
        for step in range(changes):
            progress = Progress(fraction=step / changes, stage="extract", message=str(step))
            api.services.store.heartbeat(WORKER, {job: claim.attempt}, {job: progress})
            done.wait(0.01)
        api.services.store.succeed(claim, Success(result={}))

    worker = threading.Thread(target=work)
    with _open(api, job) as response:
        worker.start()
        told = [event for event in _events(response) if event.get("event") == "job"]
    worker.join()

    assert told[-1]["data"]["status"] == "succeeded"
    # Half a second of work or more, at four a second, and the first, and the last.
    assert len(told) < changes / 2

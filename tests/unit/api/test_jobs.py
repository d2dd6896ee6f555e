from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from api import answers
from shared.jobs import Artifact, Failure, FileId, JobId, Progress, Success
from tests.unit.api.conftest import WORKER, Api
from tests.unit.api.pictures import base64_png, png
from tests.unit.api.problems import refused

CLASSIFY: dict[str, Any] = {
    "task": "classify",
    "input": {"image": {"data": base64_png()}, "labels": ["cat", "dog"]},
}


def submitted(api: Api, **fields: Any) -> dict[str, Any]:
    response = api.client.post("/v1/jobs", json={**CLASSIFY, **fields})
    assert response.status_code == 202, response.get_data(as_text=True)
    return dict(response.get_json())


def finish(api: Api, result: dict[str, Any] | None = None, artifacts: list[Artifact] | None = None) -> JobId:
    claim = api.claim()
    api.services.store.succeed(claim, Success(result=result or {"labels": []}, artifacts=artifacts or []))
    return claim.id


# --- submit


def test_an_accepted_job_is_stored_before_it_is_hinted(api: Api) -> None:
    response = api.client.post("/v1/jobs", json=CLASSIFY)

    job = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert int(response.headers["Retry-After"]) > 0
    assert api.written() == (1, 1, 1, 1)
    assert api.hints.sent == [("default", (job["id"],))]


def test_the_stored_input_names_its_images_by_file_alone(api: Api) -> None:
    job = submitted(api)

    stored = api.services.store.get(api.claim().tenant, JobId(job["id"])).input
    assert set(stored["image"]) == {"file"}
    assert stored["labels"] == ["cat", "dog"]
    assert api.services.blobs.read(FileId(stored["image"]["file"])) == png()


def test_a_submit_answers_the_job_with_every_documented_field(api: Api) -> None:
    job = submitted(api, labels={"album": "summer"}, priority="high")

    assert answers.Job.model_validate(job, strict=True)
    assert (job["status"], job["priority"], job["labels"]) == ("queued", "high", {"album": "summer"})
    assert (job["result"], job["error"], job["artifacts"]) == (None, None, [])


def test_a_multipart_submit_takes_its_images_from_its_parts(api: Api) -> None:
    request = {
        "task": "match",
        "input": {"images": [{"part": "a"}, {"part": "b"}, {"part": "a"}], "texts": ["x"]},
    }

    response = api.client.post(
        "/v1/jobs",
        data={
            "request": json.dumps(request),
            "a": (io.BytesIO(png(1, 1)), "a.png"),
            "b": (io.BytesIO(png(2, 2)), "b.png"),
        },
    )

    assert response.status_code == 202, response.get_data(as_text=True)
    images = api.claim().input["images"]
    assert images[0] == images[2] != images[1]
    assert api.written() == (1, 2, 2, 1)


def test_the_request_part_may_come_as_a_file_as_well(api: Api) -> None:
    request = json.dumps({"task": "classify", "input": {"image": {"part": "photo"}}}).encode()

    response = api.client.post(
        "/v1/jobs",
        data={
            "request": (io.BytesIO(request), "request.json", "application/json"),
            "photo": (io.BytesIO(png()), "photo.png"),
        },
    )

    assert response.status_code == 202


def test_an_uploaded_file_can_be_named_in_many_jobs(api: Api) -> None:
    file = api.client.post("/v1/files", data=png(), content_type="image/png").get_json()["id"]

    for _ in range(2):
        submitted(api, input={"image": {"file": file}})

    assert api.written() == (2, 1, 1, 2)


def test_deadlines_and_retention_are_handed_to_the_store(api: Api) -> None:
    submitted(api, timeout_s=7, retain_s=60, start_within_s=30)

    claim = api.claim()
    assert claim.timeout is not None
    assert claim.timeout.total_seconds() == 7


def test_with_the_queue_down_a_submit_is_accepted_all_the_same(api: Api) -> None:
    api.hints.is_down = True

    assert submitted(api)["status"] == "queued"


def test_prefer_wait_answers_200_with_the_ended_job(api: Api) -> None:
    worker = threading.Thread(target=_finish_next, args=(api,))
    worker.start()

    response = api.client.post("/v1/jobs", json=CLASSIFY, headers={"Prefer": "respond-async, wait=20"})

    worker.join()
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=20"
    assert response.get_json()["status"] == "succeeded"


def test_prefer_wait_answers_202_when_the_time_is_up(api: Api) -> None:
    response = api.client.post("/v1/jobs", json=CLASSIFY, headers={"Prefer": "wait=0"})

    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "wait=0"


def _finish_next(api: Api) -> None:
    pause = threading.Event()
    while not (claims := api.services.store.claim(WORKER, ["default"])):
        pause.wait(0.01)
    api.services.store.succeed(claims[0], Success(result={"labels": []}))


# --- poll


def test_a_queued_job_knows_its_place(api: Api) -> None:
    submitted(api)
    second = submitted(api)

    response = api.client.get(second["links"]["self"])

    assert response.get_json()["queue"] == {"position": 1, "eta_s": None}
    assert response.headers["Retry-After"]


def test_a_succeeded_job_holds_its_result_and_asks_for_no_retry(api: Api) -> None:
    submitted(api)
    job_id = finish(api, {"labels": [{"label": "cat", "score": 0.75}]})

    response = api.client.get(f"/v1/jobs/{job_id}")

    job = response.get_json()
    assert answers.Job.model_validate(job, strict=True)
    assert job["result"] == {"labels": [{"label": "cat", "score": 0.75}]}
    assert job["queue"] is None
    assert "Retry-After" not in response.headers


def test_a_result_kept_as_a_blob_is_read_back_into_the_job(api: Api) -> None:
    submitted(api)
    large = {"labels": [{"label": f"thing {i} é", "score": 0.5} for i in range(5_000)]}
    claim = api.claim()
    blob = api.services.blobs.put(json.dumps(large).encode())
    api.services.store.succeed(claim, Success(result=None, result_file=blob))

    assert api.client.get(f"/v1/jobs/{claim.id}").get_json()["result"] == large


def test_a_failed_job_says_why(api: Api) -> None:
    submitted(api)
    claim = api.claim()
    api.services.store.fail(claim, Failure(code="image_corrupt", message="the picture ends early"))

    job = api.client.get(f"/v1/jobs/{claim.id}").get_json()

    assert job["status"] == "failed"
    assert job["error"] == {"code": "image_corrupt", "message": "the picture ends early", "retryable": False}


def test_a_poll_with_the_known_version_is_answered_304(api: Api) -> None:
    job = submitted(api)
    first = api.client.get(job["links"]["self"])

    again = api.client.get(job["links"]["self"], headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 304
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.get_data() == b""


def test_a_poll_with_an_older_version_is_answered_200(api: Api) -> None:
    job = submitted(api)
    first = api.client.get(job["links"]["self"])
    api.claim()

    again = api.client.get(job["links"]["self"], headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 200
    assert again.headers["ETag"] != first.headers["ETag"]


def test_a_long_poll_ends_with_the_job(api: Api) -> None:
    job = submitted(api)
    worker = threading.Thread(target=_finish_next, args=(api,))
    worker.start()

    response = api.client.get(f"{job['links']['self']}?wait=30")

    worker.join()
    assert response.get_json()["status"] == "succeeded"


def test_a_long_poll_with_a_known_version_ends_with_the_first_change(api: Api) -> None:
    job = submitted(api)
    etag = api.client.get(job["links"]["self"]).headers["ETag"]
    worker = threading.Thread(target=api.claim)
    worker.start()

    response = api.client.get(f"{job['links']['self']}?wait=30", headers={"If-None-Match": etag})

    worker.join()
    assert response.get_json()["status"] == "running"


def test_a_long_poll_answers_when_its_time_is_up(api: Api) -> None:
    job = submitted(api)

    response = api.client.get(f"{job['links']['self']}?wait=0.05")

    assert (response.status_code, response.get_json()["status"]) == (200, "queued")


def test_a_wait_is_cut_to_the_longest_one_allowed(make_api: Callable[..., Api]) -> None:
    api = make_api(api_max_wait=0.05)
    job = submitted(api)

    assert api.client.get(f"{job['links']['self']}?wait=1e300").status_code == 200


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon", ""])
def test_a_wait_that_is_no_time_is_refused(api: Api, wait: str) -> None:
    job = submitted(api)

    refused(api.client.get(f"{job['links']['self']}?wait={wait}"), 422, "invalid_request", "/wait")


def test_an_unknown_parameter_of_a_poll_is_refused(api: Api) -> None:
    job = submitted(api)

    refused(api.client.get(f"{job['links']['self']}?wiat=3"), 422, "invalid_request", "/wiat")


@pytest.mark.parametrize("job_id", ["job_" + "0" * 32, "job_1", "x", "job_%00", "..%2f.."])
def test_an_unknown_job_is_not_found(api: Api, job_id: str) -> None:
    for response in (
        api.client.get(f"/v1/jobs/{job_id}"),
        api.client.get(f"/v1/jobs/{job_id}?wait=60"),
        api.client.post(f"/v1/jobs/{job_id}/cancel"),
        api.client.get(f"/v1/jobs/{job_id}/artifacts/overlay"),
    ):
        assert (response.status_code, response.get_json()["code"]) == (404, "not_found")


# --- list


def test_jobs_are_listed_newest_first_without_results(api: Api) -> None:
    ids = [submitted(api)["id"] for _ in range(3)]

    page = api.client.get("/v1/jobs").get_json()

    assert answers.JobPage.model_validate(page, strict=True)
    assert [job["id"] for job in page["jobs"]] == ids[::-1]
    assert page["next_page_token"] is None


def test_pages_join_without_gap_or_repetition(api: Api) -> None:
    ids = [submitted(api)["id"] for _ in range(5)]

    seen: list[str] = []
    token = ""
    while token is not None:
        page = api.client.get("/v1/jobs", query_string={"page_size": 2, "page_token": token}).get_json()
        seen += [job["id"] for job in page["jobs"]]
        token = page["next_page_token"]

    assert seen == ids[::-1]


def test_filters_are_anded(api: Api) -> None:
    wanted = submitted(api, labels={"album": "summer", "who": "ann"})["id"]
    submitted(api, labels={"album": "summer", "who": "bob"})
    submitted(api, labels={"album": "winter", "who": "ann"})

    found = api.client.get(
        "/v1/jobs?label.album=summer&label.who=ann&task=classify&status=queued,running"
        "&created_after=2020-01-01T00:00:00Z"
    )

    assert [job["id"] for job in found.get_json()["jobs"]] == [wanted]


@pytest.mark.parametrize(
    "query", ["status=running", "status=failed&status=canceled", "task=embed", "label.a=b"]
)
def test_a_filter_that_fits_nothing_lists_nothing(api: Api, query: str) -> None:
    submitted(api)

    assert api.client.get(f"/v1/jobs?{query}").get_json()["jobs"] == []


def test_an_oversize_page_is_cut_not_refused(api: Api) -> None:
    assert api.client.get("/v1/jobs?page_size=100000").status_code == 200


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=done", "/status"),
        ("page_size=0", "/page_size"),
        ("page_size=ten", "/page_size"),
        ("page_token=%00", "/page_token"),
        ("page_token=nonsense", "/page_token"),
        ("created_after=yesterday", "/created_after"),
        ("created_after=2026-01-01T00:00:00", "/created_after"),
        ("created_after=2026-01-01", "/created_after"),
        ("created_after=1767225600.5", "/created_after"),
        ("label.a=%00", "/label.a"),
        ("colour=red", "/colour"),
        ("task=a%20b", "/task"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(api: Api, query: str, pointer: str) -> None:
    refused(api.client.get(f"/v1/jobs?{query}"), 422, "invalid_request", pointer)


# --- cancel


def test_a_queued_job_is_cancelled_at_once_and_only_once(api: Api) -> None:
    job = submitted(api)

    first, second = (api.client.post(job["links"]["cancel"]).get_json() for _ in range(2))

    assert first["status"] == "canceled"
    assert second == first


def test_a_running_job_is_cancelling_until_its_worker_stops(api: Api) -> None:
    job = submitted(api)
    claim = api.claim()

    assert api.client.post(job["links"]["cancel"]).get_json()["status"] == "canceling"
    api.services.store.confirm_canceled(claim)
    assert api.client.get(job["links"]["self"]).get_json()["status"] == "canceled"


def test_progress_is_shown_while_the_job_runs(api: Api) -> None:
    job = submitted(api)
    claim = api.claim()
    progress = Progress(fraction=0.5, stage="convert", message="half", preview="data:image/jpeg;base64,AA==")
    api.services.store.heartbeat(WORKER, {claim.id: claim.attempt}, {claim.id: progress})

    shown = api.client.get(job["links"]["self"]).get_json()["progress"]

    words = {"fraction": 0.5, "stage": "convert", "message": "half"}
    assert shown == {**words, "preview": "data:image/jpeg;base64,AA=="}
    [listed] = api.client.get("/v1/jobs").get_json()["jobs"]
    assert listed["progress"] == {**words, "preview": None}


def test_an_ended_job_has_no_preview(api: Api) -> None:
    job = submitted(api)
    claim = api.claim()
    progress = Progress(fraction=0.5, stage="convert", preview="data:image/jpeg;base64,AA==")
    api.services.store.heartbeat(WORKER, {claim.id: claim.attempt}, {claim.id: progress})
    api.services.store.fail(claim, Failure(code="model_failed", message="no"))

    assert api.client.get(job["links"]["self"]).get_json()["progress"]["preview"] is None


# --- artifacts


def test_an_artifact_is_served_under_the_href_in_the_job(api: Api) -> None:
    submitted(api)
    file = api.services.blobs.put(png(8, 8))
    finish(
        api, artifacts=[Artifact(name="heat map", file=file, media_type="image/png", bytes=len(png(8, 8)))]
    )
    [job] = api.client.get("/v1/jobs").get_json()["jobs"]

    response = api.client.get(job["artifacts"][0]["href"])

    assert response.get_data() == png(8, 8)
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == 'inline; filename="heatmap.png"'


def test_an_artifact_that_could_run_in_a_browser_is_offered_for_saving(api: Api) -> None:
    submitted(api)
    page = b"<script>alert(1)</script>"
    file = api.services.blobs.put(page)
    finish(api, artifacts=[Artifact(name='x"\r\ny', file=file, media_type="text/html", bytes=len(page))])
    [job] = api.client.get("/v1/jobs").get_json()["jobs"]

    response = api.client.get(job["artifacts"][0]["href"])

    assert response.headers["Content-Disposition"] == 'attachment; filename="xy.html"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_an_artifact_that_the_job_has_not_made_is_not_found(api: Api) -> None:
    job = submitted(api)

    refused(api.client.get(f"{job['links']['self']}/artifacts/overlay"), 404, "not_found")

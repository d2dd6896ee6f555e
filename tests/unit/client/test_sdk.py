"""The Python client keeps the HTTP contract and says plainly what went wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from client import (
    Client,
    File,
    Job,
    JobFailed,
    Options,
    RequestRefused,
    ServiceUnreachable,
    Submission,
    WaitTimeout,
)
from tests.unit.client.fake_service import FakeService, problem, task_entry


def test_submit_sends_plain_input_as_json(client: Client, service: FakeService) -> None:
    job = client.submit("match", {"texts": ["a"]}, options=Options(priority="high"), top_k=3)

    assert job.id == "job_1"
    assert service.body() == {"task": "match", "input": {"texts": ["a"], "top_k": 3}, "priority": "high"}


def test_submit_sends_files_as_parts_and_the_same_bytes_once(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"jpeg")

    client.submit("match", images=[photo, str(photo), b"other"], texts=["a", "b"])

    assert service.body()["input"] == {
        "images": [{"part": "file-0"}, {"part": "file-0"}, {"part": "file-1"}],
        "texts": ["a", "b"],
    }
    assert service.parts()["file-0"] == b"jpeg"
    assert service.parts()["file-1"] == b"other"


def test_a_stored_file_is_named_not_sent(client: Client, service: FakeService) -> None:
    client.submit("classify", images=["ab" * 32])
    assert service.body()["input"] == {"image": {"file": "ab" * 32}}

    client.submit("classify", {"image": File(id="cd" * 32)})
    assert service.body()["input"] == {"image": {"file": "cd" * 32}}


def test_a_path_deep_in_the_input_is_sent_as_a_part(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    style = tmp_path / "style.png"
    style.write_bytes(b"png")

    client.submit("stylize", {"style": {"image": style}})

    assert service.body()["input"] == {"style": {"image": {"part": "file-0"}}}


def test_a_file_that_cannot_be_read_is_refused_by_name(client: Client, tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match=r"cannot read .*nothing\.jpg: No such file"):
        client.submit("match", images=[tmp_path / "nothing.jpg"], texts=["a"])


def test_an_unknown_task_is_refused_with_the_known_ones(client: Client) -> None:
    with pytest.raises(RequestRefused, match="this service has classify, match, answer") as refused:
        client.submit("paint", texts=["a"])
    assert refused.value.code == "unknown_task"


def test_the_catalogue_is_read_once_until_it_is_asked_for_anew(client: Client, service: FakeService) -> None:
    for _ in range(2):
        client.submit("match", images=[b"x"], texts=["a"])
    assert len(service.sent_to("/v1/tasks")) == 1

    other = task_entry("match", ["words"], words={"type": "string", "pattern": r"\S"})
    service.script = [httpx.Response(200, json={"tasks": [other]})]
    client.tasks()
    client.submit("match", texts=["a"])
    assert service.body()["input"] == {"words": "a"}


def test_fields_of_a_newer_service_are_kept(client: Client) -> None:
    assert client.get("job_1").to_json()["new_field"] == 7


def test_wait_returns_the_job_and_tells_each_change_once(client: Client, service: FakeService) -> None:
    service.changes = [
        {},
        {"status": "running", "version": 2},
        {},
        {"status": "succeeded", "version": 3, "result": {"dim": 1}},
    ]
    seen: list[Job] = []

    job = client.wait("job_1", on_progress=seen.append)

    assert job.result == {"dim": 1}
    assert [(change.status, change.version) for change in seen] == [
        ("queued", 1),
        ("running", 2),
        ("succeeded", 3),
    ]


def test_wait_raises_when_the_job_ends_without_success(client: Client, service: FakeService) -> None:
    error = {"code": "model_failed", "message": "it broke", "retryable": True}
    service.job |= {"status": "failed", "version": 5, "error": error}

    with pytest.raises(JobFailed, match=r"it broke.*submitting it again may help") as failed:
        client.wait("job_1")

    assert failed.value.job.status == "failed"


def test_watch_returns_a_job_however_it_ended(client: Client, service: FakeService) -> None:
    service.job |= {"status": "canceled", "version": 5}
    assert client.watch("job_1").status == "canceled"


def test_wait_gives_up_after_its_timeout_and_says_that_the_job_goes_on(client: Client) -> None:
    with pytest.raises(WaitTimeout, match=r"still queued after 0.01 s; it goes on") as over:
        client.wait("job_1", timeout=0.01)
    assert over.value.job.id == "job_1"


def test_wait_bears_a_restart_of_the_service(client: Client, service: FakeService) -> None:
    def succeed(request: httpx.Request) -> httpx.Response:
        service.job |= {"status": "succeeded", "version": 2}
        return httpx.Response(200, json=service.job)

    first = httpx.Response(200, json=service.job)
    service.script = [first, *[httpx.ReadError("gone")] * 9, *[httpx.ConnectError("refused")] * 9, succeed]

    assert client.wait("job_1").succeeded


def test_wait_does_not_bear_an_absence_for_ever(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.waiting._OUTAGE_S", -100.0)
    service.script = [httpx.Response(200, json=service.job), *[httpx.ConnectError("refused")] * 9]

    with pytest.raises(ServiceUnreachable):
        client.wait("job_1")


def test_list_follows_the_pages_only_as_far_as_it_is_read(client: Client, service: FakeService) -> None:
    pages = [
        {"jobs": [service.job, service.job], "next_page_token": "more"},
        {"jobs": [service.job], "next_page_token": None},
    ]
    service.script = [httpx.Response(200, json=page) for page in pages]
    jobs = client.list(status=["queued", "running"], labels={"run": "7"}, page_size=2)

    next(jobs)
    assert len(service.requests) == 1
    assert len(list(jobs)) == 2

    params = service.requests[1].url.params
    assert params.get_list("status") == ["queued", "running"]
    assert params["label.run"] == "7"
    assert params["page_token"] == "more"


def test_cancel_returns_how_the_job_stands(client: Client) -> None:
    assert client.cancel("job_1").status == "canceled"


def test_upload_returns_the_stored_file(client: Client, service: FakeService) -> None:
    service.script = [httpx.Response(201, json={"id": "ab" * 32, "media_type": "image/png", "bytes": 3})]

    assert client.upload(b"png").id == "ab" * 32
    [request] = service.requests
    assert (request.content, request.headers["content-type"]) == (b"png", "application/octet-stream")


def test_a_large_file_is_stored_first_and_read_in_pieces(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"0123456789" * 900_000)
    stored = httpx.Response(201, json={"id": "ab" * 32, "media_type": "video/mp4", "bytes": 9_000_000})
    # The first try meets a service that is not there yet: the file is read anew.
    service.script = [httpx.ConnectError("not yet"), stored]

    client.submit("video", {"video": film, "rules": [{"name": "a"}]})

    [first, upload, submit] = service.requests
    assert upload.content == first.content == film.read_bytes()
    assert upload.headers["content-length"] == "9000000"
    assert "transfer-encoding" not in upload.headers
    assert upload.headers["content-type"] == "video/mp4"
    assert service.body()["input"] == {"video": {"file": "ab" * 32}, "rules": [{"name": "a"}]}
    assert submit.url.path == "/v1/jobs"


def test_an_upload_that_broke_off_is_sent_again(client: Client, service: FakeService, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"png")
    service.script = [httpx.ReadError("reset"), httpx.Response(200, json={"id": "ab" * 32})]

    assert client.upload(photo).id == "ab" * 32
    assert [request.content for request in service.requests] == [b"png", b"png"]


def test_health_counts_the_ready_workers(client: Client, service: FakeService) -> None:
    service.script = [httpx.Response(200, json={"status": "ok", "checks": {"database": "ok", "workers": 2}})]
    assert client.health().ready_workers == 2


def test_a_refusal_carries_code_status_and_each_fault(client: Client, service: FakeService) -> None:
    faults = [
        {"pointer": "/input/top_k", "detail": "must be at most 100", "code": "invalid_request"},
        {"pointer": "/input/image", "detail": "is missing", "code": "invalid_request"},
    ]
    service.script = [problem(422, "invalid_request", "2 faults", errors=faults)]

    with pytest.raises(RequestRefused) as refused:
        client.submit("classify", {"top_k": 200})

    error = refused.value
    assert (error.code, error.status) == ("invalid_request", 422)
    assert [fault.pointer for fault in error.problems] == ["/input/top_k", "/input/image"]
    assert str(error) == "2 faults; must be at most 100 (at /input/top_k); is missing (at /input/image)"


def test_a_single_fault_is_said_once(client: Client, service: FakeService) -> None:
    fault = {"pointer": "/task", "detail": "no such task", "code": "unknown_task"}
    service.script = [problem(422, "unknown_task", "no such task", errors=[fault])]

    with pytest.raises(RequestRefused, match=r"^no such task \(at /task\)$"):
        client.submit("paint", {})


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(client: Client, service: FakeService, status: int) -> None:
    service.script = [httpx.Response(status, headers={"Retry-After": "0"})]
    assert client.submit("match", {}).id == "job_1"


def test_a_long_retry_after_is_reported_not_obeyed(client: Client, service: FakeService) -> None:
    service.script = [
        httpx.Response(429, headers={"Retry-After": "3600"}, json={"code": "rate_limited", "detail": "slow"})
    ]
    with pytest.raises(RequestRefused, match="slow") as refused:
        client.submit("match", {})
    assert refused.value.status == 429


def test_a_broken_service_is_unreachable_and_names_the_request(client: Client, service: FakeService) -> None:
    service.script = [problem(500, "internal", "something went wrong", request_id="req_7")]
    with pytest.raises(ServiceUnreachable, match=r"something went wrong.*req_7"):
        client.get("job_1")


def test_a_change_that_broke_off_is_not_sent_twice(client: Client, service: FakeService) -> None:
    service.script = [httpx.ReadError("reset")]
    with pytest.raises(ServiceUnreachable, match="broke off during POST"):
        client.cancel("job_1")
    assert len(service.requests) == 1


def keys(service: FakeService) -> list[str | None]:
    """Return the key of every request that submitted something."""
    return [
        request.headers.get("idempotency-key") for request in service.requests if request.method == "POST"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
        httpx.ReadTimeout("late"),
        httpx.ConnectError("refused"),
        problem(429, "too_many_jobs", "slow"),
        problem(502, "", "bad gateway"),
        problem(503, "overloaded", "busy"),
        problem(504, "", "gateway timeout"),
        problem(507, "blobs_full", "no room"),
    ],
    ids=lambda answer: answer.status_code if isinstance(answer, httpx.Response) else type(answer).__name__,
)
def test_a_submit_is_sent_again_as_the_same_submit(
    client: Client, service: FakeService, answer: httpx.Response | Exception
) -> None:
    client.get("job_1")
    service.script = [answer] * 5

    assert client.submit("match", {}).id == "job_1"
    assert len(keys(service)) == 6
    assert len(set(keys(service))) == 1


def test_every_submit_has_a_key_of_its_own_or_its_callers(client: Client, service: FakeService) -> None:
    service.job |= {"status": "succeeded"}
    client.submit("match", {})
    client.run("match", {"texts": ["a"]})
    client.submit_many([Submission("match", {"texts": ["a"]})])
    client.submit("match", {}, idempotency_key="mine")

    found = keys(service)
    assert len(set(found)) == 4
    assert None not in found
    assert found[-1] == "mine"
    assert "idempotency_key" not in service.body()["input"]


def test_a_submit_is_not_sent_for_ever(service: FakeService) -> None:
    with Client("http://service", transport=service, retry_for=0.05) as client:
        client.get("job_1")
        service.script = [httpx.ReadError("reset")] * 100_000
        with pytest.raises(ServiceUnreachable, match="broke off during POST"):
            client.submit("match", {})


def test_a_submit_waits_as_long_as_it_is_asked_to(client: Client, service: FakeService) -> None:
    client.get("job_1")
    service.script = [httpx.Response(429, headers={"Retry-After": "0.2"})]
    began = time.monotonic()

    assert client.submit("match", {}).id == "job_1"
    assert time.monotonic() - began >= 0.2


def test_a_submit_to_a_service_never_seen_gives_up_soon(client: Client, service: FakeService) -> None:
    service.script = [httpx.ConnectError("refused")] * 9
    with pytest.raises(ServiceUnreachable, match="nothing answers"):
        client.submit("match", {})
    assert len(service.requests) == 3


def test_a_read_is_not_tried_for_long(client: Client, service: FakeService) -> None:
    client.get("job_1")
    service.script = [httpx.ReadError("reset")] * 9
    with pytest.raises(ServiceUnreachable, match="broke off during GET"):
        client.get("job_1")
    assert len(service.requests) == 4


def test_a_retry_names_the_generation_that_was_seen(client: Client, service: FakeService) -> None:
    service.job |= {"status": "failed", "generation": 3}
    seen = client.get("job_1")

    job = client.retry(seen)

    assert (job.status, job.generation, job.error) == ("queued", 4, None)
    assert service.requests[-1].url.params["generation"] == "3"
    # Somebody who saw the same generation changes nothing any more.
    assert client.retry(seen).generation == 4


def test_a_retry_by_id_looks_first_and_survives_a_lost_answer(client: Client, service: FakeService) -> None:
    service.job |= {"status": "failed"}

    def lose(request: httpx.Request) -> httpx.Response:
        service._retry(request)
        raise httpx.ReadError("reset")

    service.script = [httpx.Response(200, json=service.job), lose]

    assert client.retry("job_1").generation == 2
    assert [request.method for request in service.requests] == ["GET", "POST", "POST"]


def test_jobs_are_listed_by_their_error(client: Client, service: FakeService) -> None:
    service.script = [httpx.Response(200, json={"jobs": [service.job], "next_page_token": None})]
    assert len(list(client.list(error="attempts_exhausted"))) == 1
    assert dict(service.requests[0].url.params) == {"error": "attempts_exhausted"}


def test_a_read_that_broke_off_is_tried_again(client: Client, service: FakeService) -> None:
    service.script = [httpx.RemoteProtocolError("closed")]
    assert client.get("job_1").id == "job_1"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>a router's login page</html>"),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(302, headers={"Location": "/login"}),
        httpx.Response(404, text="<html>"),
    ],
    ids=["html", "other json", "redirect", "foreign 404"],
)
def test_something_else_at_the_address_is_told_apart(
    client: Client, service: FakeService, answer: httpx.Response
) -> None:
    service.script = [answer]
    with pytest.raises((ServiceUnreachable, RequestRefused), match="http://service"):
        client.get("job_1")


@pytest.mark.parametrize("url", ["", "8000", "ftp://host", "http://", "http://[::1"])
def test_a_url_that_is_none_is_said_to_be_none(url: str) -> None:
    with pytest.raises(ServiceUnreachable, match="is no"):
        Client(url)


def test_nobody_at_the_address_is_said_with_what_to_do() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        with (
            Client(f"http://127.0.0.1:{bound.getsockname()[1]}") as client,
            pytest.raises(ServiceUnreachable, match="start the service with `iconotext up`"),
        ):
            client.tasks()


def test_a_service_that_never_answers_is_given_up(serve_once: Callable[[bytes | None], str]) -> None:
    with (
        Client(serve_once(None), timeout=0.2) as client,
        pytest.raises(ServiceUnreachable, match="broke off"),
    ):
        client.get("job_1")


def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(
    serve_once: Callable[[bytes | None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    body = b'{"id": "job_1", "task": "match", "status": "queued", "version": 1}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    with Client(serve_once(answer)) as client:
        assert client.get("job_1").status == "queued"


@pytest.fixture
def serve_once(request: pytest.FixtureRequest) -> Callable[[bytes | None], str]:
    """Return what starts a real server that sends these bytes to its one caller; None: never."""

    def start(answer: bytes | None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                if answer is not None:
                    connection.sendall(answer)
                done.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()

        def stop() -> None:
            done.set()
            thread.join(10)
            listener.close()

        request.addfinalizer(stop)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    return start

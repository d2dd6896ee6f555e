"""How a benchmark's jobs are written down, and that none is counted which did not succeed."""

from __future__ import annotations

import json
from email import message_from_bytes
from email.policy import HTTP

import pytest

from benchmarks.jobs import Ledger, Work, by_hundred, form, one_by_one, prepared, prepared_batch
from benchmarks.wire import Answer, Wire

WIRE = Wire("http://127.0.0.1:1")


def body_of(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


def done(job_id: str, status: str = "succeeded") -> dict[str, object]:
    result = {"image_vectors": [], "text_vectors": ["AAAA"]}
    return {"id": job_id, "status": status, "result": result, "timings_ms": {"queue": 1.0}}


def test_a_form_holds_the_request_and_its_files() -> None:
    body, media_type = form({"task": "embed"}, [b"first", b"second"])
    message = message_from_bytes(f"Content-Type: {media_type}\r\n\r\n".encode() + body, policy=HTTP)

    parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}

    assert json.loads(parts["request"].get_payload(decode=True)) == {"task": "embed"}
    assert parts["p1"].get_payload(decode=True) == b"second"


def test_the_pictures_of_a_batch_are_numbered_through_all_its_jobs() -> None:
    works = [Work(images=[b"a", b"b"]), Work(texts=["words"]), Work(images=[b"c"])]

    request = prepared_batch(WIRE, works)

    head, _, rest = body_of(request).partition(b"\r\n\r\n")
    value = json.loads(rest.partition(b"\r\n--")[0])
    assert b'name="request"' in head
    assert [job["input"].get("images") for job in value] == [
        [{"part": "p0"}, {"part": "p1"}],
        None,
        [{"part": "p2"}],
    ]


def test_a_job_that_is_not_done_yet_is_asked_for() -> None:
    ledger = Ledger()
    talk = one_by_one(WIRE, iter([prepared(WIRE, Work(texts=["a"]), hold=True)]), ledger)

    assert b"Prefer: wait=" in next(talk)  # type: ignore[operator]  # a request
    asked = talk.send(Answer(202, json.dumps(done("job_1", "queued")).encode()))
    assert isinstance(asked, bytes)
    assert asked.startswith(b"GET /v1/jobs/job_1?wait=")
    with pytest.raises(StopIteration):
        talk.send(Answer(200, json.dumps(done("job_1")).encode()))

    assert (ledger.jobs, ledger.items, len(ledger.latencies_ms)) == (1, 1, 1)


def test_a_batch_is_asked_for_until_all_of_it_has_ended() -> None:
    ledger = Ledger()
    talk = by_hundred(WIRE, iter([prepared_batch(WIRE, [Work(texts=["a"]), Work(texts=["b"])])]), ledger)
    next(talk)
    new = {"jobs": [{"status": 202, "job": done(job_id, "queued")} for job_id in ("job_1", "job_2")]}
    some = {"jobs": [done("job_1"), done("job_2", "running")]}

    asked = talk.send(Answer(207, json.dumps(new).encode()))
    assert json.loads(body_of(asked))["ids"] == ["job_1", "job_2"]  # type: ignore[arg-type]
    pause = talk.send(Answer(200, json.dumps(some).encode()))
    assert isinstance(pause, float)
    next(talk)
    with pytest.raises(StopIteration):
        talk.send(Answer(200, json.dumps({"jobs": [done("job_1"), done("job_2")]}).encode()))

    assert ledger.jobs == 2


@pytest.mark.parametrize(
    ("outcome", "job"),
    [
        ({"status": 400, "problem": {"code": "invalid_request"}}, done("job_1")),
        ({"status": 202, "job": done("job_1", "queued")}, done("job_1", "failed")),
    ],
)
def test_what_did_not_succeed_is_not_counted_but_ends_the_run(
    outcome: dict[str, object], job: dict[str, object]
) -> None:
    ledger = Ledger()
    talk = by_hundred(WIRE, iter([prepared_batch(WIRE, [Work(texts=["a"])])]), ledger)
    next(talk)

    def hear() -> None:
        talk.send(Answer(207, json.dumps({"jobs": [outcome]}).encode()))
        talk.send(Answer(200, json.dumps({"jobs": [job]}).encode()))

    with pytest.raises(RuntimeError):
        hear()

    assert ledger.jobs == 0

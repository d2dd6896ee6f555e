"""Many submissions travel in few requests, and none pays for another's fault."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from client import Client, Job, Options, PartlySubmitted, RequestRefused, ServiceUnreachable, Submission
from tests.unit.client.fake_service import FakeService, problem


def texts(count: int) -> list[Submission]:
    return [Submission("match", {"texts": [str(number)]}) for number in range(count)]


def sizes(service: FakeService) -> list[int]:
    """Return how many submissions each request held."""
    requests, found = service.requests, []
    for request in service.sent_to("/v1/jobs:batch"):
        service.requests = [request]
        found.append(len(service.body()))
    service.requests = requests
    return found


def test_a_list_is_one_request_and_keeps_its_order(client: Client, service: FakeService) -> None:
    jobs = client.submit_many([Submission("match", {"texts": ["a"]}, options=Options(cache=True)), *texts(2)])

    assert [job.id for job in jobs if isinstance(job, Job)] == ["many_0", "many_1", "many_2"]
    assert len(service.requests) == 1
    assert service.body() == [
        {"task": "match", "input": {"texts": ["a"]}, "cache": True},
        {"task": "match", "input": {"texts": ["0"]}},
        {"task": "match", "input": {"texts": ["1"]}},
    ]


def test_no_request_holds_more_submissions_than_allowed(client: Client, service: FakeService) -> None:
    jobs = client.submit_many(texts(2_001))

    assert len(jobs) == 2_001
    assert sizes(service) == [1_000, 1_000, 1]


def test_pictures_are_placed_and_the_same_one_is_sent_once(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    photo = tmp_path / 'a "cat".jpg'
    photo.write_bytes(b"jpeg")

    client.submit_many(
        [
            Submission("classify", images=[photo], fields={"top_k": 1}),
            Submission("match", images=[b"other", photo], texts=["a"]),
        ]
    )

    assert service.body() == [
        {"task": "classify", "input": {"top_k": 1, "image": {"part": "file-0"}}},
        {"task": "match", "input": {"images": [{"part": "file-1"}, {"part": "file-0"}], "texts": ["a"]}},
    ]
    assert service.parts().keys() == {"request", "file-0", "file-1"}
    assert b'filename="a %22cat%22.jpg"' in service.requests[-1].content


def test_a_request_is_closed_before_it_is_too_large(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.submissions.MOST_BYTES", 1_000)
    pictures = [bytes([number]) * 400 for number in range(4)]
    # The last picture again: it was sent with the request before, but each request stands for itself.
    pictures.append(pictures[3])
    huge = b"h" * 5_000

    jobs = client.submit_many(
        [Submission("classify", images=[picture]) for picture in [*pictures[:3], huge, *pictures[3:]]]
    )

    assert len(jobs) == 6
    assert sizes(service) == [2, 1, 1, 2]
    assert [len(service.parts()["file-0"]), len(service.parts())] == [400, 2]


def test_a_refused_submission_hurts_no_other(client: Client, service: FakeService, tmp_path: Path) -> None:
    first, *refused, last = client.submit_many(
        [
            Submission("match", {"texts": ["a"]}),
            Submission("match", {"bad": 1}),
            Submission("classify", images=[tmp_path / "nothing.jpg"]),
            Submission("paint", texts=["a"]),
            Submission("match", {"texts": [float("nan")]}),
            Submission("match", {"texts": ["b"]}),
        ]
    )

    assert isinstance(first, Job)
    assert isinstance(last, Job)
    assert all(isinstance(error, RequestRefused) for error in refused)
    assert [str(error).partition(":")[0] for error in refused] == [
        "is not wanted (at /input/bad)",
        f"cannot read {tmp_path / 'nothing.jpg'}",
        "no task 'paint'; this service has classify, match, answer",
        "the input is no JSON",
    ]


def test_pictures_of_a_submission_that_is_not_sent_are_not_sent(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    client.submit_many(
        [
            Submission("match", images=[b"unwanted", tmp_path / "nothing.jpg"], texts=["a"]),
            Submission("classify", images=[b"wanted"]),
        ]
    )

    assert service.parts().keys() == {"request", "file-0"}
    assert service.parts()["file-0"] == b"wanted"


def test_a_request_that_the_service_finds_too_large_is_divided(client: Client, service: FakeService) -> None:
    service.longest = 3

    jobs = client.submit_many(texts(10))

    assert all(isinstance(job, Job) for job in jobs)
    assert sizes(service) == [10, 5, 2, 3, 5, 2, 3]


def test_a_value_for_which_a_whole_list_is_refused_is_found(client: Client, service: FakeService) -> None:
    submissions = texts(7)
    submissions[3] = Submission("match", {"texts": ["malformed"]})

    outcomes = client.submit_many(submissions)

    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, RequestRefused)] == [3]


def test_a_refusal_of_the_caller_is_raised(client: Client, service: FakeService) -> None:
    service.script = [problem(401, "no", "not you")]

    with pytest.raises(RequestRefused, match="not you"):
        client.submit_many(texts(3))


def test_a_list_without_room_is_sent_again_until_there_is(client: Client, service: FakeService) -> None:
    service.script = [problem(429, "too_many_jobs", "not now")] * 4

    assert len(client.submit_many(texts(3))) == 3
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 1


def test_a_list_that_is_refused_for_long_is_raised(service: FakeService) -> None:
    with Client("http://service", transport=service, retry_for=0.05) as client:
        service.script = [problem(429, "too_many_jobs", "not now")] * 100_000
        with pytest.raises(RequestRefused, match="not now"):
            client.submit_many(texts(3))


def test_the_parts_of_a_list_have_keys_of_their_own(client: Client, service: FakeService) -> None:
    service.longest = 2
    client.submit_many(texts(4))
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 3


def test_a_list_whose_answer_was_lost_makes_its_jobs_once(client: Client, service: FakeService) -> None:
    service.script = [service.lose, service.lose]

    jobs = client.submit_many([Submission("match", {"texts": [text]}) for text in "abc"])

    assert [job.id for job in jobs if isinstance(job, Job)] == list(service.many)
    assert len(service.many) == 3


def test_a_list_that_broke_off_tells_of_the_jobs_that_are_stored(service: FakeService) -> None:
    stored = {"jobs": [{"status": 202, "job": {**service.job, "id": f"many_{n}"}} for n in range(1_000)]}
    service.script = [httpx.Response(207, json=stored), *[httpx.ReadError("reset")] * 100_000]

    with (
        Client("http://service", transport=service, retry_for=0.05) as client,
        pytest.raises(PartlySubmitted, match=r"1000 of 1500 submissions were answered.*broke off") as broken,
    ):
        client.submit_many(texts(1_500))

    assert [job.id for job in broken.value.answered[:2] if isinstance(job, Job)] == ["many_0", "many_1"]
    assert len(broken.value.answered) == 1_000
    # What is sent again is what broke off, not what was answered.
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 2


def test_a_service_that_answers_for_others_than_asked_is_not_believed(
    client: Client, service: FakeService
) -> None:
    service.script = [httpx.Response(207, json={"jobs": []})]
    with pytest.raises(ServiceUnreachable, match="2 submissions sent, 0 answered"):
        client.submit_many(texts(2))


def test_an_empty_list_is_no_request(client: Client, service: FakeService) -> None:
    assert client.submit_many([]) == []
    assert service.requests == []

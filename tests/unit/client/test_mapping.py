"""Many inputs go through one task, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client import Client, File, Job, Options, RequestRefused, ServiceUnreachable
from tests.unit.client.fake_service import FakeService


def test_each_input_comes_back_with_its_job_in_order(client: Client, service: FakeService) -> None:
    service.pace = 3
    words = [str(number) for number in range(50)]

    done = list(client.map("answer", words, in_flight=16))

    assert [given for given, _ in done] == words
    assert all(isinstance(job, Job) and job.succeeded for _, job in done)
    assert len({job.id for _, job in done if isinstance(job, Job)}) == 50


def test_in_any_order_nothing_is_lost(client: Client) -> None:
    words = [str(number) for number in range(50)]

    done = client.map("answer", words, in_flight=16, ordered=False)

    assert sorted(given for given, _ in done) == sorted(words)


def test_an_input_is_a_picture_a_text_or_the_whole(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    photo = tmp_path / "cat.jpg"
    photo.write_bytes(b"jpeg")
    given = [photo, b"bytes", File(id="ab" * 32), "a text", {"labels": ["cat"]}]

    list(client.map("classify", given, in_flight=1, options=Options(priority="low"), top_k=2))

    inputs = []
    for request in service.sent_to("/v1/jobs:batch"):
        service.requests = [request]
        inputs += [submission["input"] for submission in service.body()]
        assert service.body()[0]["priority"] == "low"
    assert inputs == [
        {"top_k": 2, "image": {"part": "file-0"}},
        {"top_k": 2, "image": {"part": "file-0"}},
        {"top_k": 2, "image": {"file": "ab" * 32}},
        {"top_k": 2, "text": "a text"},
        {"top_k": 2, "labels": ["cat"]},
    ]


def test_inputs_are_taken_only_as_jobs_end(client: Client) -> None:
    taken: list[int] = []

    def inputs() -> Iterator[str]:
        for number in range(10_000):
            taken.append(number)
            yield str(number)

    done = client.map("answer", inputs(), in_flight=8)
    for _ in range(20):
        next(done)
    done.close()

    assert len(taken) <= 20 + 2 * 8


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("in_flight", [1, 3, 16])
def test_no_more_jobs_are_under_way_than_allowed(
    client: Client, service: FakeService, in_flight: int, *, ordered: bool
) -> None:
    service.pace, service.every = 2, 3

    done = list(client.map("answer", map(str, range(60)), in_flight=in_flight, ordered=ordered))

    assert len(done) == 60
    assert service.busiest <= in_flight


def test_each_input_is_one_job_though_answers_are_lost(client: Client, service: FakeService) -> None:
    client.tasks()
    service.script = [service.lose, service.lose]

    done = list(client.map("answer", map(str, range(20)), in_flight=4))

    assert len({job.id for _, job in done if isinstance(job, Job)}) == len(service.many) == 20


def test_what_is_refused_is_said_and_the_rest_goes_on(client: Client) -> None:
    given = [{"texts": ["a"]}, {"bad": 1}, {"texts": ["b"]}]

    [first, (_, refused), last] = client.map("match", given)

    assert isinstance(refused, RequestRefused)
    assert [isinstance(job, Job) and job.succeeded for _, job in (first, last)] == [True, True]


def test_a_service_that_goes_away_is_raised(client: Client, service: FakeService) -> None:
    service.script = [httpx.ReadError("reset")] * 9
    with pytest.raises(ServiceUnreachable):
        list(client.map("match", [{"texts": ["a"]}] * 8, in_flight=4))


def test_without_inputs_nothing_is_sent(client: Client, service: FakeService) -> None:
    assert list(client.map("match", [])) == []
    assert service.requests == []

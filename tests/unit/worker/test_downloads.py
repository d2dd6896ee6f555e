"""A running job's pictures and films by URL: fetched once, a few at a time, and gone with the attempt."""

from __future__ import annotations

import errno
import io
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.errors import UrlRefused
from shared.jobs import LOCAL, JobState
from shared.schemas.base import ImageRef, VideoRef
from tests.films import film, scene
from tests.sinks import Answer, Sink, reply, sink
from tests.unit.api.pictures import png
from tests.unit.worker.conftest import Kernel, local_fetcher
from worker.downloads import AttemptOver, Downloads
from worker.media.screening import Wanted
from worker.media.views import View
from worker.pipeline import Work

InThread = Callable[[Callable[[], object]], threading.Thread]
VIEW = View(width=8, height=8)
DEADLINE_S = 20.0


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def urls(server: Sink, count: int) -> list[str]:
    return [f"http://127.0.0.1:{server.port}/{number}.png" for number in range(count)]


def looking_at(urls: list[str], seen: list[int] | None = None) -> Callable[[Work, Any], None]:
    """Return what looks at pictures by URL and notes how bright each is."""

    def act(work: Work, _task: object) -> None:
        pixels = work.images([ImageRef(url=url) for url in urls], VIEW)
        if seen is not None:
            seen.extend(int(one[0, 0, 0]) for one in pixels)

    return act


def by_its_number(handler: BaseHTTPRequestHandler) -> None:
    """Answer with a picture whose shade is the number in the path."""
    reply(200, picture(int(handler.path.strip("/.png"))))(handler)


def test_a_job_sees_the_pictures_that_its_urls_name_in_order(kernel: Kernel) -> None:
    seen: list[int] = []
    with sink(*[by_its_number] * 20) as server:
        job = kernel.run(looking_at(urls(server, 20), seen))

    assert job.state is JobState.SUCCEEDED
    assert seen == list(range(20))
    assert job.timings_ms["fetch"] > 0.0


def test_stored_pictures_and_fetched_ones_go_together(kernel: Kernel) -> None:
    file = kernel.blobs.put(picture(200))
    shades: list[int] = []

    def act(work: Work, _task: object) -> None:
        refs = [ImageRef(file=file), ImageRef(url=urls(server, 1)[0])]
        shades.extend(int(one.pixels[0, 0, 0]) for one in work.pictures(refs, VIEW))

    with sink(reply(200, picture(7))) as server:
        job = kernel.run(act)

    assert (job.state, shades) == (JobState.SUCCEEDED, [200, 7])


def test_a_url_is_fetched_once_however_often_the_job_looks(kernel: Kernel) -> None:
    def act(work: Work, _task: object) -> None:
        for _ in range(2):
            work.images([ImageRef(url=server.url)] * 3, VIEW)

    with sink(reply(200, picture(7))) as server:
        job = kernel.run(act)

    assert (job.state, len(server.received)) == (JobState.SUCCEEDED, 1)


def test_each_attempt_fetches_anew(kernel: Kernel) -> None:
    with sink(reply(200, picture(1)), reply(200, picture(2))) as server:
        seen: list[int] = []
        for _ in range(2):
            kernel.run(looking_at([server.url], seen))

    assert seen == [1, 2]


def test_no_more_than_four_of_a_job_are_on_their_way_at_once(kernel: Kernel) -> None:
    four, fifth = threading.Semaphore(4), threading.Event()
    together = threading.Barrier(4)

    def meet(handler: BaseHTTPRequestHandler) -> None:
        if not four.acquire(blocking=False):
            fifth.set()
            return
        together.wait(DEADLINE_S)
        fifth.wait(0.2)
        four.release()
        by_its_number(handler)

    with sink(*[meet] * 16) as server:
        job = kernel.run(looking_at(urls(server, 16)))

    assert (job.state, fifth.is_set()) == (JobState.SUCCEEDED, False)


def test_a_picture_that_is_not_there_fails_the_job_at_once_and_is_named(kernel: Kernel) -> None:
    with sink(reply(404), by_its_number) as server:
        job = kernel.run(looking_at(urls(server, 2)))

    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None
    assert job.error.code == "url_refused"
    assert job.error.message.startswith("image ")
    assert job.error.message.endswith(f": http://127.0.0.1:{server.port}/...: the server answers 404")


def test_a_server_that_is_busy_is_asked_again_later(kernel: Kernel) -> None:
    with sink(reply(503)) as server:
        job = kernel.run(looking_at([server.url]))

    assert (job.state, job.attempt) == (JobState.RUNNING, 1)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<html>hello</html>", "image_not_recognized"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_format_forbidden"),
        (png(30_000, 30_000), "image_too_large"),
        (picture(7)[:45], "image_corrupt"),
        (b"", "image_not_recognized"),
    ],
    ids=["a page", "a drawing", "too many pixels", "broken off", "nothing"],
)
def test_what_is_fetched_as_a_picture_is_checked_as_one(kernel: Kernel, content: bytes, code: str) -> None:
    with sink(reply(200, content, Content_Type="image/png")) as server:
        job = kernel.run(looking_at([server.url]))

    assert job.error is not None
    assert job.error.code == code


def watching(url: str, seen: list[float]) -> Callable[[Work, Any], None]:
    wanted = Wanted(sample_fps=2.0, samples=View(width=32, height=32))

    def act(work: Work, _task: object) -> None:
        with work.film(VideoRef(url=url), wanted) as one:
            seen.extend(sample.time_s for part in one.parts() for sample in part.samples)

    return act


def test_a_job_sees_its_film_by_url(kernel: Kernel) -> None:
    seen: list[float] = []
    with sink(reply(200, film([scene(50)] * 50))) as server:
        job = kernel.run(watching(server.url, seen))

    assert job.state is JobState.SUCCEEDED
    assert seen == [0.0, 0.52, 1.0, 1.52]
    assert job.timings_ms["fetch"] > 0.0


@pytest.mark.parametrize(
    ("content", "code"), [(b"#EXTM3U\nhttp://x/", "video_format_forbidden"), (b"hi", "video_not_recognized")]
)
def test_what_is_fetched_as_a_film_is_checked_as_one(kernel: Kernel, content: bytes, code: str) -> None:
    with sink(reply(200, content, Content_Type="video/mp4")) as server:
        job = kernel.run(watching(server.url, []))

    assert job.error is not None
    assert job.error.code == code


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_job_that_is_cancelled_in_mid_fetch_ends_at_once(
    kernel: Kernel, in_thread: InThread, kind: str
) -> None:
    arrived = threading.Event()

    def begin(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        arrived.set()
        server.ending.wait()

    with sink(begin) as server:
        act = looking_at([server.url]) if kind == "image" else watching(server.url, [])
        job = kernel.submit(act)
        thread = in_thread(kernel.runner.drain)
        assert arrived.wait(DEADLINE_S)
        kernel.store.cancel(LOCAL, job.id)
        # Less than a fetch may take.
        thread.join(10)

        assert kernel.job(job).state is JobState.CANCELED


def test_when_one_fails_nobody_waits_for_the_others(kernel: Kernel) -> None:
    arrived = threading.Event()

    def first(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/0.png":
            arrived.wait(DEADLINE_S)
            reply(404)(handler)
        else:
            arrived.set()
            server.ending.wait()

    with sink(*[first] * 9) as server:
        began = time.monotonic()
        job = kernel.run(looking_at(urls(server, 9)))
        spent = time.monotonic() - began

    assert job.state is JobState.FAILED
    assert spent < 10, "less than one fetch may take"
    assert len(server.received) <= 5


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_of_an_attempt(kernel: Kernel) -> None:
    answers: list[Answer] = [by_its_number] * 5
    with sink(*answers) as server:
        kernel.run(looking_at(urls(server, 1)))
        before = open_files()
        job = kernel.run(looking_at(urls(server, 4)))

    assert job.state is JobState.SUCCEEDED
    assert open_files() <= before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetcher")]


def test_a_job_without_room_for_its_pictures_is_given_back(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with sink() as server:
        job = kernel.run(looking_at([server.url]))

    assert server.received == []
    assert (job.state, job.error) == (JobState.RUNNING, None)


@pytest.mark.parametrize(
    "begin", [lambda made: made.begin(["http://x/"]), lambda made: made.film("http://x/").__enter__()]
)
def test_where_urls_are_off_none_is_fetched(begin: Callable[[Downloads], object]) -> None:
    with closing(Downloads(None, lambda: None)) as downloads, pytest.raises(UrlRefused, match="off"):
        begin(downloads)


def test_nothing_is_given_of_an_attempt_that_is_over() -> None:
    with (
        sink(reply(200, picture(7))) as server,
        closing(Downloads(local_fetcher(), lambda: None)) as downloads,
    ):
        downloads.begin([server.url])
        downloads.wait(server.url)

    with pytest.raises(AttemptOver):
        downloads.picture(server.url)

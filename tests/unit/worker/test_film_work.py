"""A running job's film: from the blob store through a child to the stage that asked for it."""

from __future__ import annotations

from typing import Any

from shared.errors import JobTimeout
from shared.jobs import JobState
from shared.schemas.base import VideoRef
from tests.films import film, scene
from tests.unit.worker.conftest import Kernel
from worker.media.screening import Wanted
from worker.media.views import View
from worker.pipeline import Work

WANTED = Wanted(sample_fps=2.0, samples=View(width=32, height=32))
GONE = "0" * 64


def watch(work: Work, file: str) -> list[float]:
    """Return when each sample of the film is."""
    with work.film(VideoRef(file=file), WANTED) as one:
        return [sample.time_s for part in one.parts() for sample in part.samples]


def test_a_job_sees_its_film_and_books_the_time_that_it_waited(kernel: Kernel) -> None:
    file = kernel.blobs.put(film([scene(50)] * 50))
    seen: list[float] = []

    job = kernel.run(lambda work, _: seen.extend(watch(work, file)))

    assert job.state is JobState.SUCCEEDED
    assert seen == [0.0, 0.52, 1.0, 1.52]
    assert job.timings_ms["decode"] > 0.0


def test_a_job_whose_film_is_gone_fails_by_name(kernel: Kernel) -> None:
    job = kernel.run(lambda work, _: watch(work, GONE))

    assert job.error is not None
    assert job.error.code == "file_not_found"


def test_a_job_whose_film_is_broken_fails_at_once_under_its_code(kernel: Kernel) -> None:
    file = kernel.blobs.put(film([scene(50)] * 50)[:-300])

    job = kernel.run(lambda work, _: watch(work, file))

    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None
    assert job.error.code == "video_corrupt"


def test_a_job_stopped_while_its_film_is_read_goes_no_further(kernel: Kernel) -> None:
    file = kernel.blobs.put(film([scene(50)] * 200))
    parts: list[Any] = []

    def act(work: Work, _task: object) -> None:
        with work.film(VideoRef(file=file), WANTED) as one:
            for part in one.parts():
                parts.append(part)
                kernel.heartbeat.stop_all(JobTimeout("the job took longer than it may"))

    job = kernel.run(act)

    assert job.error is not None
    assert job.error.code == "timeout"
    assert len(parts) == 1

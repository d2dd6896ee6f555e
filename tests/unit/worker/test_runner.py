"""Every way a job can end, and what the runner makes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.errors import ImageCorrupt, ModelOutOfMemory
from shared.jobs import LOCAL, Claim, JobState, WorkerId
from tests.unit.worker.conftest import Kernel, echo_with
from tests.unit.worker.test_reconciler import age
from worker.models.capabilities import TextEncoder
from worker.pipeline import Work

InThread = Callable[[Callable[[], object]], threading.Thread]
DEADLINE_S = 20.0


def raising(error: BaseException) -> Callable[..., object]:
    def act(*_: object) -> object:
        raise error

    return act


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came true")


def test_a_job_that_works_succeeds_with_its_result_models_and_timings(kernel: Kernel) -> None:
    job = kernel.run(
        lambda work, _: work.map(TextEncoder.encode_texts, ["red", "blue"]), input={"word": "hi"}
    )
    assert job.state is JobState.SUCCEEDED
    assert job.result == {"word": "hi"}
    assert job.attempt == 1
    assert job.batch_size == 2
    assert job.progress.fraction == 1.0
    assert [model["id"] for model in job.provenance["models"]] == ["iconotext/fake-text"]
    assert job.provenance["models"][0]["grade"] == "test"
    assert {"queue", "extract", "convert", "fuse", "output", "model", "total"} <= job.timings_ms.keys()


def test_the_callers_mistake_fails_at_once_under_its_code(kernel: Kernel) -> None:
    job = kernel.run(raising(ImageCorrupt("the picture ends after 12 bytes")))
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("image_corrupt", "the picture ends after 12 bytes")


def test_a_passing_fault_is_tried_again_later_and_stays_running_for_the_user(kernel: Kernel) -> None:
    job = kernel.run(raising(ModelOutOfMemory("the batch did not fit")))
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    assert kernel.store.claim(WorkerId("worker"), ["default"]) == [], "it waits before its next attempt"


def test_a_fault_that_does_not_pass_uses_up_the_attempts(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runner._backoff", lambda _attempt: timedelta(0))
    job = kernel.run(raising(ModelOutOfMemory("the batch did not fit")))
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    assert job.error is not None
    assert job.error.code == "attempts_exhausted"
    assert "the batch did not fit" in job.error.message


def test_memory_error_never_leaves_the_runner_and_is_tried_again(kernel: Kernel) -> None:
    job = kernel.run(raising(MemoryError()))
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)


def test_a_bug_fails_the_job_without_quoting_what_the_user_sent(kernel: Kernel) -> None:
    job = kernel.run(raising(KeyError("a secret prompt")))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "internal"
    assert "secret" not in job.error.message
    assert "KeyError" in job.error.message


def test_one_bad_job_does_not_stop_the_next(kernel: Kernel) -> None:
    def act(_work: Work, task: object) -> None:
        if "bad" in str(task):
            raise KeyError("bad")

    jobs = [kernel.submit(act, input={"word": word}) for word in ("good", "bad", "good")]
    assert kernel.runner.drain() == 3
    assert [kernel.job(job).state.value for job in jobs] == ["succeeded", "failed", "succeeded"]


def test_an_unknown_task_fails_in_words(kernel: Kernel) -> None:
    job = kernel.run(task="telepathy")
    assert job.error is not None
    assert job.error.code == "model_unavailable"
    assert "telepathy" in job.error.message


def test_a_result_too_large_for_the_row_goes_to_the_blobs(kernel: Kernel) -> None:
    job = kernel.run(input={"word": "x" * 1000})
    assert job.state is JobState.SUCCEEDED
    assert job.result is None
    assert job.result_file is not None
    assert json.loads(kernel.blobs.read(job.result_file)) == {"word": "x" * 1000}


def test_an_artifact_is_stored_beside_the_result(kernel: Kernel) -> None:
    job = kernel.run(lambda work, _: work.artifact("note", b"made here", "text/plain"))
    (artifact,) = job.artifacts
    assert (artifact.name, artifact.media_type, artifact.bytes) == ("note", "text/plain", 9)
    assert kernel.blobs.read(artifact.file) == b"made here"


def test_progress_is_seen_while_the_job_runs_and_only_grows(kernel: Kernel, in_thread: InThread) -> None:
    told, go_on = threading.Event(), threading.Event()

    def act(work: Work, _task: object) -> None:
        work.progress(0.5, "half of the pictures")
        work.progress(0.1, "fewer")
        told.set()
        assert go_on.wait(DEADLINE_S)

    job = kernel.submit(act)
    in_thread(kernel.runner.drain)
    assert told.wait(DEADLINE_S)
    pause = threading.Event()
    for _ in range(1000):
        seen = kernel.job(job).progress
        if seen.message == "fewer":
            break
        pause.wait(0.02)
    assert (seen.stage, seen.fraction, seen.message) == ("extract", 0.125, "fewer")
    go_on.set()


def test_a_canceled_job_stops_between_its_steps_and_stores_no_result(
    kernel: Kernel, in_thread: InThread
) -> None:
    started, never = threading.Event(), threading.Event()

    def act(work: Work, _task: object) -> None:
        started.set()
        while not never.wait(0.005):
            work.progress(0.5)

    job = kernel.submit(act)
    thread = in_thread(kernel.runner.drain)
    assert started.wait(DEADLINE_S)
    assert kernel.store.cancel(LOCAL, job.id).state is JobState.CANCELING
    thread.join(DEADLINE_S)
    job = kernel.job(job)
    assert (job.state, job.result, job.error) == (JobState.CANCELED, None, None)


def test_a_job_past_its_timeout_fails_with_timeout(kernel: Kernel) -> None:
    never = threading.Event()

    def act(work: Work, _task: object) -> None:
        while not never.wait(0.005):
            work.progress(0.5)

    job = kernel.run(act, timeout=timedelta(milliseconds=50))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "timeout"


def test_a_worker_that_lost_its_lease_cannot_overwrite_its_successor(kernel: Kernel) -> None:
    job = kernel.submit(lambda *_: None, input={"word": "first"})
    stale = kernel.claim("frozen worker")
    kernel.store.release(stale)
    successor = kernel.claim()
    kernel.runner.run(stale)
    assert kernel.job(job).state is JobState.RUNNING, "the stale attempt's result is dropped"
    kernel.runner.run(successor)
    assert (kernel.job(job).state, kernel.job(job).attempt) == (JobState.SUCCEEDED, 2)


def test_a_stopped_runner_claims_nothing_more(kernel: Kernel) -> None:
    job = kernel.submit()
    kernel.runner.stop()
    assert kernel.runner.drain() == 0
    assert kernel.job(job).state is JobState.QUEUED


def test_no_more_jobs_run_at_once_than_there_are_slots(kernel: Kernel, in_thread: InThread) -> None:
    running, go_on = threading.Semaphore(0), threading.Event()

    def act(_work: Work, _task: object) -> None:
        running.release()
        assert go_on.wait(DEADLINE_S)

    for _ in range(3):
        kernel.submit(act)
    threads = [in_thread(kernel.runner.drain) for _ in range(2)]
    assert all(running.acquire(timeout=DEADLINE_S) for _ in threads)
    assert kernel.runner.drain(blocking=False) == 0
    go_on.set()


def test_a_suspect_has_the_process_to_itself(kernel: Kernel, in_thread: InThread) -> None:
    running, go_on = threading.Event(), threading.Event()
    neighbours: list[int] = []

    def neighbour(_work: Work, _task: object) -> None:
        running.set()
        assert go_on.wait(DEADLINE_S)

    suspect = kernel.submit()
    kernel.claim("dead worker")
    age(kernel.store._database, timedelta(minutes=1))
    assert kernel.store.expire_leases() == 1
    other = kernel.submit(neighbour)
    first = in_thread(kernel.runner.drain)
    assert running.wait(DEADLINE_S)
    alone = in_thread(kernel.runner.run_suspects)
    wait_until(lambda: not kernel.runner._shared.is_set())
    late = kernel.submit()

    assert kernel.runner.drain(blocking=False) == 0
    assert kernel.job(suspect).attempt == 1, "it waits for what is in flight"
    kernel.pipelines["echo"] = echo_with(lambda *_: neighbours.append(kernel.store.backlog()["default"]))
    go_on.set()
    first.join(DEADLINE_S)
    alone.join(DEADLINE_S)

    assert (kernel.job(suspect).state, kernel.job(suspect).attempt) == (JobState.SUCCEEDED, 2)
    assert kernel.job(other).state is JobState.SUCCEEDED
    assert neighbours == [1], "nothing else was claimed meanwhile"
    assert kernel.job(late).state is JobState.QUEUED
    assert kernel.runner.drain() == 1


def test_a_draining_worker_hands_back_what_it_cannot_finish(kernel: Kernel, in_thread: InThread) -> None:
    started, never = threading.Event(), threading.Event()

    def act(work: Work, _task: object) -> None:
        started.set()
        while not never.wait(0.005):
            work.progress(0.5)

    job = kernel.submit(act)
    thread = in_thread(kernel.runner.drain)
    assert started.wait(DEADLINE_S)
    kernel.runner.close(timedelta(milliseconds=50))
    thread.join(DEADLINE_S)
    kernel.submit(lambda *_: None)
    again = kernel.claim("another worker")
    assert (again.id, again.attempt, again.alone) == (job.id, 2, False)


def test_closing_waits_for_a_job_that_was_being_claimed_when_it_began(
    kernel: Kernel, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    claiming, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    claim = kernel.store.claim

    def slow_claim(*words: Any) -> list[Claim]:
        claiming.set()
        assert go_on.wait(DEADLINE_S)
        return claim(*words)

    def close() -> None:
        kernel.runner.close(timedelta(seconds=DEADLINE_S))
        closed.set()

    job = kernel.submit(lambda work, _: work.map(TextEncoder.encode_texts, ["red"]))
    monkeypatch.setattr(kernel.store, "claim", slow_claim)
    in_thread(kernel.runner.drain)
    assert claiming.wait(DEADLINE_S)
    in_thread(close)
    assert not closed.wait(0.1), "the job that it is about to hold would find the engine closed"
    go_on.set()
    assert closed.wait(DEADLINE_S)
    assert kernel.job(job).state is JobState.SUCCEEDED


def test_a_closed_runner_turns_late_hints_away_without_holding_them(kernel: Kernel) -> None:
    kernel.runner.close(timedelta(seconds=DEADLINE_S))
    kernel.submit()
    assert [kernel.runner.drain() for _ in range(5)] == [0] * 5

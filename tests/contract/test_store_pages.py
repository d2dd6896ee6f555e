"""What a list of jobs promises."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.errors import InvalidRequest
from shared.jobs import LOCAL, Claim, Failure, Job, JobId, JobState, NewJob, TenantId
from shared.store import JobStore

Submit = Callable[..., Job]
Later = Callable[[timedelta], None]


def _ids(page: tuple[list[Job], str | None]) -> list[JobId]:
    return [job.id for job in page[0]]


def test_pages_hold_every_job_once_newest_first(
    store: JobStore, new_job: Callable[..., NewJob], later: Later
) -> None:
    # Two batches of one moment each: the id decides within a batch.
    older = store.create([new_job() for _ in range(5)])
    later(timedelta(seconds=1))
    newer = store.create([new_job() for _ in range(5)])
    expected = sorted((job.id for job in newer), reverse=True) + sorted(
        (job.id for job in older), reverse=True
    )
    seen: list[JobId] = []
    token = None
    for size in (3, 3, 3, 3):
        page, token = store.list(LOCAL, page_size=size, after=token)
        seen += [job.id for job in page]
    assert (seen, token) == (expected, None)


def test_jobs_created_meanwhile_do_not_move_the_next_page(
    store: JobStore, new_job: Callable[..., NewJob], later: Later
) -> None:
    store.create([new_job() for _ in range(6)])
    later(timedelta(seconds=1))
    everything = _ids(store.list(LOCAL))
    first, token = store.list(LOCAL, page_size=2)
    store.create([new_job() for _ in range(4)])
    rest = _ids(store.list(LOCAL, after=token))
    assert [job.id for job in first] + rest == everything


def test_a_full_last_page_has_no_token(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    store.create([new_job() for _ in range(4)])
    assert store.list(LOCAL, page_size=4)[1] is None
    assert store.list(LOCAL, page_size=3)[1] is not None


@pytest.mark.parametrize(("asked", "given"), [(10_000, 200), (0, 1), (-5, 1)])
def test_a_page_size_out_of_range_is_coerced(
    store: JobStore, new_job: Callable[..., NewJob], asked: int, given: int
) -> None:
    store.create([new_job() for _ in range(201)])
    assert len(store.list(LOCAL, page_size=asked)[0]) == given


def test_tenants_do_not_see_each_other(store: JobStore, submit: Submit) -> None:
    mine = submit(tenant=TenantId("ada"))
    submit(tenant=TenantId("bob"))
    assert _ids(store.list(TenantId("ada"))) == [mine.id]


def test_filters_by_state_and_task(store: JobStore, submit: Submit) -> None:
    canceled = store.cancel(LOCAL, submit(task="match").id)
    queued = submit(task="match")
    submit(task="embed")
    assert _ids(store.list(LOCAL, states=[JobState.CANCELED, JobState.FAILED])) == [canceled.id]
    assert _ids(store.list(LOCAL, states=[JobState.QUEUED], task="match")) == [queued.id]
    assert _ids(store.list(LOCAL, states=[JobState.EXPIRED])) == []


def test_finds_jobs_by_the_error_they_failed_with(
    store: JobStore, submit: Submit, claim: Callable[..., Claim]
) -> None:
    failed = []
    for code in ("attempts_exhausted", "model_failed", "attempts_exhausted"):
        submit()
        held = claim()
        store.fail(held, Failure(code=code, message="it broke"))
        failed.append(held.id)
    submit()

    dead = {failed[0], failed[2]}
    assert set(_ids(store.list(LOCAL, error="attempts_exhausted"))) == dead
    assert set(_ids(store.list(LOCAL, error="attempts_exhausted", states=[JobState.FAILED]))) == dead
    assert _ids(store.list(LOCAL, error="attempts_exhausted", states=[JobState.CANCELED])) == []
    assert _ids(store.list(TenantId("ada"), error="attempts_exhausted")) == []


@pytest.mark.parametrize("key", ["team", "$.team", "a.b", 'quo"ted', "it's", "ключ", "key", "value", "0", ""])
def test_filters_by_label_whatever_its_name(store: JobStore, submit: Submit, key: str) -> None:
    labelled = submit(labels={key: "bl\"u'e %é", "other": "x"})
    submit(labels={key: "red", "other": "bl\"u'e %é"})
    submit()
    assert _ids(store.list(LOCAL, labels={key: "bl\"u'e %é"})) == [labelled.id]
    assert _ids(store.list(LOCAL, labels={key: "bl\"u'e %é", "other": "y"})) == []


def test_filters_by_creation(store: JobStore, submit: Submit, later: Later) -> None:
    submit()
    later(timedelta(seconds=2))
    recent = submit()
    assert _ids(store.list(LOCAL, created_after=recent.created_at - timedelta(seconds=1))) == [recent.id]
    assert _ids(store.list(LOCAL, created_after=recent.created_at)) == []


def _encoded(key: str) -> str:
    return urlsafe_b64encode(key.encode()).decode().rstrip("=")


_TEXTS = ["12", "x.job_1", "-1.job_1", "01.job_1", "9" * 30 + ".job_1", "1.\0"]


@pytest.mark.parametrize(
    "token", ["", "x", "é", "MTIz", "=", "\0", "\ud800", _encoded("1.job_1") + "=", *map(_encoded, _TEXTS)]
)
def test_a_token_of_someone_else_is_refused(store: JobStore, submit: Submit, token: str) -> None:
    submit()
    with pytest.raises(InvalidRequest) as refused:
        store.list(LOCAL, after=token)
    assert [problem.pointer for problem in refused.value.problems] == ["/page_token"]

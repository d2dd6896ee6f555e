"""What is forgotten, and when: uploads, and the blobs that nobody names any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from shared.database import Database, now
from shared.errors import NotFound
from shared.jobs import LOCAL, Artifact, Claim, FileId, Job, NewFile, NewJob, Success, TenantId
from shared.store import JobStore
from shared.tables import files

Submit = Callable[..., Job]
Later = Callable[[timedelta], None]

A, B, C, D = (FileId(letter * 64) for letter in "abcd")
ADA, BOB = TenantId("ada"), TenantId("bob")
DAY, WEEK = timedelta(days=1), timedelta(days=7)


@pytest.fixture
def later(later: Later, database: Database) -> Later:
    """Return a function that lets time pass for uploads, too."""

    def shift(length: timedelta) -> None:
        later(length)
        step = length // timedelta(milliseconds=1)
        with database.begin() as connection:
            moments = (files.c.created_at, files.c.review_at)
            connection.execute(update(files).values({one: one - step for one in moments}))

    return shift


def _upload(store: JobStore, file: FileId, tenant: TenantId = ADA, retain: timedelta = WEEK) -> bool:
    return store.add_file(tenant, file, media_type="image/png", size=1, width=1, height=1, retain=retain)


def _has(store: JobStore, file: FileId, tenant: TenantId = ADA) -> bool:
    return store.missing_files(tenant, [file]) == set()


def _names(file: FileId) -> dict[str, object]:
    return {"images": [{"file": file}]}


def test_an_upload_that_no_job_names_goes_when_its_time_is_over(store: JobStore, later: Later) -> None:
    _upload(store, A)
    _upload(store, B, retain=2 * WEEK)
    later(6 * DAY)
    assert store.review_uploads(WEEK) == []
    assert not store.overdue()
    later(DAY)
    assert store.overdue()
    assert store.review_uploads(WEEK) == [A]
    assert not store.overdue()
    assert not _has(store, A)
    assert _has(store, B)
    later(WEEK)
    assert store.review_uploads(WEEK) == [B]


def test_an_upload_that_is_sent_again_is_kept_as_long_again(store: JobStore, later: Later) -> None:
    _upload(store, A)
    first = store.get_file(ADA, A)
    later(6 * DAY)
    assert not _upload(store, A)
    later(6 * DAY)
    assert store.review_uploads(WEEK) == []
    assert store.get_file(ADA, A).created_at == first.created_at - 12 * DAY
    later(DAY)
    assert store.review_uploads(WEEK) == [A]


def test_to_send_an_upload_again_takes_nothing_from_it(store: JobStore, later: Later) -> None:
    _upload(store, A, retain=2 * WEEK)
    _upload(store, A, retain=DAY)
    later(2 * WEEK - DAY)
    assert store.review_uploads(DAY) == []
    assert _has(store, A)


def test_an_upload_is_kept_while_a_job_names_it(store: JobStore, submit: Submit, later: Later) -> None:
    _upload(store, A)
    job = submit(tenant=ADA, input=_names(A), retain=WEEK)
    for _ in range(3):
        later(WEEK)
        assert store.review_uploads(WEEK) == []
    store.cancel(ADA, job.id)
    later(WEEK)
    assert store.purge() == []
    later(DAY)
    assert store.review_uploads(WEEK) == [A]


def test_a_picture_that_came_with_a_job_goes_after_it(
    store: JobStore, new_job: Callable[..., NewJob], later: Later
) -> None:
    picture = NewFile(id=A, tenant=ADA, media_type="image/png", bytes=1)
    (job,) = store.create([new_job(tenant=ADA, input=_names(A), retain=DAY)], files=[picture])
    store.cancel(ADA, job.id)
    later(2 * DAY)
    store.purge()
    assert store.review_uploads(WEEK) == [], "it is younger than what is kept"
    later(5 * DAY)
    assert store.review_uploads(WEEK) == [A]


def test_a_blob_that_another_tenant_uploaded_is_not_unnamed(store: JobStore, later: Later) -> None:
    _upload(store, A)
    later(WEEK)
    _upload(store, A, BOB)
    assert store.review_uploads(WEEK) == []
    assert not _has(store, A)
    assert _has(store, A, BOB)


def test_uploads_are_reviewed_step_by_step_the_longest_due_first(store: JobStore, later: Later) -> None:
    for file in (A, B, C):
        _upload(store, file)
        later(DAY)
    later(WEEK)
    assert store.review_uploads(WEEK, limit=2) == [A, B]
    assert store.overdue()
    assert store.review_uploads(WEEK, limit=2) == [C]
    assert not store.overdue()


def test_what_the_release_before_uploads_is_kept_as_long(store: JobStore, database: Database) -> None:
    # It knows nothing of reviews: they begin at once.
    _upload(store, A)
    with database.begin() as connection:
        connection.execute(update(files).values(review_at=0))
    assert store.overdue()
    assert store.review_uploads(WEEK) == []
    with database.read() as connection:
        review_at, present = connection.execute(select(files.c.review_at, now())).one()
    assert timedelta(milliseconds=review_at - present) > 6 * DAY


def test_unnamed_is_what_neither_a_job_nor_an_upload_names(
    store: JobStore, submit: Submit, claim: Callable[..., Claim]
) -> None:
    _upload(store, A)
    submit(input=_names(B))
    made = [Artifact(name="n", file=C, media_type="image/png", bytes=1)]
    store.succeed(claim(), Success(result={}, artifacts=made))
    many = [FileId(f"{number:064x}") for number in range(500)]
    assert store.unnamed([A, B, C, D]) == {D}
    assert store.unnamed(many) == set(many)
    assert store.unnamed([]) == set()


def test_ended_jobs_past_their_time_are_overdue(store: JobStore, submit: Submit, later: Later) -> None:
    store.cancel(LOCAL, submit(retain=DAY).id)
    assert not store.overdue()
    later(DAY)
    assert store.overdue()
    store.purge()
    assert not store.overdue()


def test_an_upload_that_comes_while_it_is_let_go_is_there_afterwards(store: JobStore, later: Later) -> None:
    wrong: list[str] = []
    for _ in range(20):
        _upload(store, A)
        later(WEEK)
        sender = threading.Thread(target=_upload, args=(store, A))
        sender.start()
        store.review_uploads(WEEK)
        sender.join()
        try:
            store.get_file(ADA, A)
        except NotFound as error:
            wrong.append(error.message)
        later(WEEK)
        store.review_uploads(WEEK)
    assert wrong == []

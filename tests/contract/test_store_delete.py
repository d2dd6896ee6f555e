"""What a deletion promises: in whatever state, nothing of it stays, and nobody brings it back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import func, insert, select

from shared.database import Database, now
from shared.errors import LeaseLost, NotFound
from shared.jobs import (
    LOCAL,
    Artifact,
    Claim,
    FileId,
    Idempotency,
    Job,
    Json,
    Success,
    TenantId,
    Webhook,
    WorkerId,
    new_job_id,
)
from shared.store import JobStore
from shared.tables import deliveries, heads, job_files, jobs

Submit = Callable[..., Job]
Claiming = Callable[..., Claim]

W1 = WorkerId("worker-1")
OTHER = TenantId("other")
PICTURE, HEATMAP, RESULT = FileId("1" * 64), FileId("2" * 64), FileId("3" * 64)
INPUT: Json = {"images": [{"file": PICTURE}]}


def _rows(database: Database) -> tuple[int, ...]:
    with database.read() as connection:
        counts = (select(func.count()).select_from(table) for table in (jobs, job_files, deliveries))
        return tuple(connection.execute(count).scalar_one() for count in counts)


def _success(result_bytes: int = 0) -> Success:
    made = Artifact(name="heatmap", file=HEATMAP, media_type="image/png", bytes=40)
    file = RESULT if result_bytes else None
    return Success(result=None if file else {}, result_file=file, result_bytes=result_bytes, artifacts=[made])


def test_a_queued_job_is_gone_and_is_never_claimed(
    store: JobStore, submit: Submit, database: Database
) -> None:
    job = submit(input=INPUT)

    store.delete(LOCAL, job.id)

    assert _rows(database) == (0, 0, 0)
    assert store.claim(W1, ["default"]) == []
    with pytest.raises(NotFound):
        store.get(LOCAL, job.id)


def test_a_running_job_is_gone_and_its_worker_learns_it(
    store: JobStore, submit: Submit, claim: Claiming, database: Database
) -> None:
    submit(input=INPUT)
    held = claim()

    store.delete(LOCAL, held.id)

    assert store.heartbeat(W1, {held.id: held.attempt}, {}).lost == {held.id}
    with pytest.raises(LeaseLost):
        store.succeed(held, _success())
    assert _rows(database) == (0, 0, 0)


def test_an_ended_job_goes_with_its_files_and_with_what_was_to_be_told(
    store: JobStore, submit: Submit, claim: Claiming, database: Database
) -> None:
    submit(input=INPUT, webhook=Webhook(url="https://example.org/hook"))
    held = claim()
    store.succeed(held, _success())
    assert _rows(database) == (1, 2, 1)

    store.delete(LOCAL, held.id)

    assert _rows(database) == (0, 0, 0)
    assert store.unnamed([PICTURE, HEATMAP]) == {PICTURE, HEATMAP}


def test_a_foreign_job_is_an_unknown_one_and_stays(store: JobStore, submit: Submit) -> None:
    job = submit()

    with pytest.raises(NotFound, match=job.id):
        store.delete(OTHER, job.id)

    assert store.get(LOCAL, job.id).id == job.id


def test_a_job_is_deleted_once(store: JobStore, submit: Submit) -> None:
    job = submit()
    store.delete(LOCAL, job.id)

    with pytest.raises(NotFound):
        store.delete(LOCAL, job.id)


def test_the_key_of_a_deleted_job_makes_a_new_one(store: JobStore, submit: Submit) -> None:
    given = Idempotency(key="k", fingerprint="f" * 64)
    first = submit(idempotency=given)
    store.delete(LOCAL, first.id)

    again = submit(id=(fresh := new_job_id()), idempotency=given)

    assert again.id == fresh


def test_a_deleted_upload_is_gone_for_its_tenant_only(store: JobStore, submit: Submit) -> None:
    for tenant in (LOCAL, OTHER):
        store.add_file(tenant, PICTURE, media_type="image/png", size=9)
    submit(input=INPUT)

    store.delete_file(LOCAL, PICTURE)

    with pytest.raises(NotFound):
        store.get_file(LOCAL, PICTURE)
    with pytest.raises(NotFound):
        store.delete_file(LOCAL, PICTURE)
    assert store.get_file(OTHER, PICTURE).bytes == 9
    # The job that names it needs it still.
    store.delete_file(OTHER, PICTURE)
    assert store.unnamed([PICTURE]) == set()


def test_an_artifact_is_no_upload(store: JobStore, submit: Submit, claim: Claiming) -> None:
    submit()
    store.succeed(claim(), _success())

    with pytest.raises(NotFound, match="deleted with the job"):
        store.delete_file(LOCAL, HEATMAP)


def test_what_a_tenant_keeps_is_its_uploads_and_what_its_jobs_made(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    store.add_file(LOCAL, PICTURE, media_type="image/png", size=9)
    store.add_file(OTHER, PICTURE, media_type="image/png", size=9)
    job = submit()
    store.succeed(claim(), _success(result_bytes=1_000))

    assert (store.stored_bytes(LOCAL), store.stored_bytes(OTHER)) == (1_049, 9)
    assert store.stored_bytes(TenantId("nobody")) == 0

    store.delete(LOCAL, job.id)
    store.delete_file(LOCAL, PICTURE)
    assert store.stored_bytes(LOCAL) == 0


def test_heads_are_listed_and_deleted_by_their_tenant(store: JobStore, database: Database) -> None:
    with database.begin() as connection:
        for tenant, name in ((LOCAL, "cats"), (LOCAL, "birds"), (OTHER, "cats")):
            connection.execute(insert(heads).values(tenant=tenant, name=name, created_at=now()))

    assert [head.name for head in store.heads(LOCAL)] == ["birds", "cats"]
    store.delete_head(LOCAL, "cats")

    assert [head.name for head in store.heads(LOCAL)] == ["birds"]
    assert [head.name for head in store.heads(OTHER)] == ["cats"]
    with pytest.raises(NotFound, match="cats"):
        store.delete_head(LOCAL, "cats")


def test_a_claim_tells_which_request_its_job_came_with(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    submit(request_id="req_1")

    assert claim().request_id == "req_1"

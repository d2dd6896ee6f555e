"""What tenants own: uploads, artifacts, heads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import insert

from shared.database import Database, now
from shared.errors import NotFound
from shared.jobs import LOCAL, Artifact, Claim, FileId, Job, Success, TenantId
from shared.store import JobStore, StoredFile
from shared.tables import heads

A, B, C = (FileId(letter * 64) for letter in "abc")
ADA, BOB = TenantId("ada"), TenantId("bob")


def _upload(store: JobStore, tenant: TenantId, file: FileId, size: int = 70) -> bool:
    return store.add_file(tenant, file, media_type="image/png", size=size, width=640, height=480)


def test_a_file_is_new_once_for_each_tenant(store: JobStore) -> None:
    assert [_upload(store, tenant, A) for tenant in (ADA, ADA, BOB)] == [True, False, True]


def test_an_upload_reads_back(store: JobStore) -> None:
    _upload(store, ADA, A, size=3_000_000_000)
    stored = store.get_file(ADA, A)
    assert stored == StoredFile(
        id=A, media_type="image/png", bytes=3_000_000_000, width=640, height=480, created_at=stored.created_at
    )


def test_a_foreign_file_is_an_unknown_file(store: JobStore) -> None:
    _upload(store, ADA, A)
    with pytest.raises(NotFound):
        store.get_file(BOB, A)
    assert store.missing_files(BOB, [A, B]) == {A, B}
    assert store.missing_files(ADA, [A, B]) == {B}
    assert store.missing_files(ADA, []) == set()


def test_many_files_are_looked_up_at_once(store: JobStore) -> None:
    wanted = [FileId(f"{number:064x}") for number in range(1300)]
    _upload(store, ADA, wanted[1250])
    assert store.missing_files(ADA, wanted) == set(wanted) - {wanted[1250]}


def test_an_artifact_is_a_file_of_its_jobs_tenant(
    store: JobStore,
    submit: Callable[..., Job],
    claim: Callable[..., Claim],
    later: Callable[[timedelta], None],
) -> None:
    job = submit(tenant=ADA)
    artifact = Artifact(name="overlay", file=A, media_type="image/webp", bytes=12)
    store.succeed(claim(), Success(result={}, artifacts=[artifact], result_file=B))
    done = store.get(ADA, job.id)
    stored = store.get_file(ADA, A)
    assert (stored.media_type, stored.bytes, stored.created_at) == ("image/webp", 12, done.finished_at)
    assert store.missing_files(ADA, [A, B, C]) == {B, C}
    assert store.missing_files(BOB, [A]) == {A}
    later(timedelta(days=8))
    store.purge()
    with pytest.raises(NotFound):
        store.get_file(ADA, A)


def test_an_input_is_not_thereby_owned(store: JobStore, submit: Callable[..., Job]) -> None:
    submit(tenant=BOB, input={"image": {"file": A}})
    with pytest.raises(NotFound):
        store.get_file(BOB, A)


def test_a_head_exists_for_its_tenant(store: JobStore, database: Database) -> None:
    with database.begin() as connection:
        connection.execute(insert(heads).values(tenant=LOCAL, name="birds", created_at=now()))
    assert store.head_exists(LOCAL, "birds")
    assert not store.head_exists(LOCAL, "fish")
    assert not store.head_exists(ADA, "birds")

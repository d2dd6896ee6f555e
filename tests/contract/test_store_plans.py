"""Every question that is asked again and again is answered from an index, however many jobs there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, literal, select, update

from shared.database import Database, now
from shared.jobs import (
    LOCAL,
    Artifact,
    FileId,
    Idempotency,
    Job,
    JobState,
    NewJob,
    Progress,
    Success,
    WorkerId,
    new_job_id,
)
from shared.store import JobStore, MessageId, Try
from shared.tables import deliveries, files, idempotency_keys, job_files, jobs, tenant_clocks

W1 = WorkerId("worker-1")


_FILE = FileId("f" * 64)
_NEW = NewJob(id=new_job_id(), task="embed", input={})


def _newest(store: JobStore) -> Job:
    (newest,) = store.list(LOCAL, page_size=1)[0]
    return newest


def _waiting(store: JobStore) -> Job:
    # Not the newest of all: of those created in one millisecond, that may be one that was claimed.
    (waiting,) = store.list(LOCAL, states=[JobState.QUEUED], page_size=1)[0]
    return waiting


def _position(store: JobStore) -> Job:
    return store.get(LOCAL, _waiting(store).id, with_position=True)


def _twice(store: JobStore) -> Job:
    given = Idempotency(key="k1", fingerprint="f" * 64)
    first, again = (store.create([replace(_NEW, id=new_job_id(), idempotency=given)])[0] for _ in range(2))
    assert first.id == again.id
    return again


_ASK: dict[str, tuple[str, Callable[[JobStore], object]]] = {
    "claim": ("jobs_claim_idx", lambda store: store.claim(W1, ["default"], limit=4)),
    "claim_suspect": ("jobs_suspect_idx", lambda store: store.claim(W1, ["default"], limit=1, suspects=True)),
    "has_suspects": ("jobs_suspect_idx", lambda store: store.has_suspects(["default"])),
    "has_work": ("jobs_claim_idx", lambda store: store.has_work(["default"])),
    "backlog": ("jobs_claim_idx", lambda store: store.backlog()),
    "position": ("jobs_claim_idx", _position),
    "queued_load": ("jobs_queued_idx|jobs_list_state_idx", lambda store: store.queued_load()),
    # PostgreSQL 18 may also skip through the other one, tenant by tenant.
    "expire_leases": ("jobs_held_idx|jobs_list_state_idx", lambda store: store.expire_leases()),
    "expire_leases_of": ("jobs_held_idx|jobs_list_state_idx", lambda store: store.expire_leases_of([W1])),
    "expire_deadlines": ("jobs_start_by_idx", lambda store: store.expire_deadlines()),
    "purge": ("jobs_expires_at_idx", lambda store: store.purge()),
    "get": ("jobs_pkey|sqlite_autoindex_jobs_1", lambda store: store.get(LOCAL, _newest(store).id)),
    "many": ("jobs_pkey|sqlite_autoindex_jobs_1", lambda store: store.many([_newest(store).id] * 9)),
    "versions": ("jobs_pkey|sqlite_autoindex_jobs_1", lambda store: store.versions([_newest(store).id])),
    "find_cached": ("jobs_cache_idx", lambda store: store.find_cached(LOCAL, ["k1", "k2"])),
    "create": ("jobs_claim_idx", lambda store: store.create([_NEW])),
    "create_first": ("tenant_clocks_vtime_idx", lambda store: store.create([_NEW])),
    "create_answered": (
        "jobs_pkey|sqlite_autoindex_jobs_1",
        lambda store: store.create([replace(_NEW, answered_by=_newest(store).id)]),
    ),
    "missing_files": ("job_files_use_idx", lambda store: store.missing_files(LOCAL, [_FILE])),
    "get_file": ("job_files_use_idx", lambda store: store.get_file(LOCAL, _FILE)),
    "cancel": ("jobs_pkey|sqlite_autoindex_jobs_1", lambda store: store.cancel(LOCAL, _newest(store).id)),
    "create_keyed": (
        "idempotency_keys_pkey|sqlite_autoindex_idempotency_keys_1",
        _twice,
    ),
    "retry": (
        "jobs_pkey|sqlite_autoindex_jobs_1",
        lambda store: store.retry(LOCAL, store.cancel(LOCAL, _waiting(store).id).id),
    ),
    "overdue": ("jobs_expires_at_idx", lambda store: store.overdue()),
    "review_uploads": ("files_review_at_idx", lambda store: store.review_uploads(timedelta(days=7))),
    "unnamed": ("job_files_use_idx", lambda store: store.unnamed([_FILE])),
    "add_file": (
        "PRIMARY KEY|files_pkey",
        lambda store: [store.add_file(LOCAL, _FILE, media_type="image/png", size=1) for _ in range(2)],
    ),
    "purge_keys": ("idempotency_keys_created_at_idx", lambda store: store.purge_keys()),
    "has_deliveries": ("deliveries_next_at_idx", lambda store: store.has_deliveries()),
    "claim_deliveries": (
        "deliveries_next_at_idx",
        lambda store: store.claim_deliveries(8, timedelta(minutes=1)),
    ),
    "deliveries_of": (
        "deliveries_job_id_idx",
        lambda store: store.deliveries_of(LOCAL, _newest(store).id),
    ),
    "delivered": (
        "deliveries_pkey|sqlite_autoindex_deliveries_1",
        lambda store: store.delivered(MessageId("msg_7"), Try(status=200, error=None, ms=1)),
    ),
    "purge_deliveries": ("deliveries_ended_at_idx", lambda store: store.purge_deliveries()),
    "list": ("jobs_list_idx", lambda store: store.list(LOCAL, page_size=20)),
    "list_state": ("jobs_list_state_idx", lambda store: store.list(LOCAL, states=[JobState.FAILED])),
    "list_error": ("jobs_list_state_idx", lambda store: store.list(LOCAL, error="attempts_exhausted")),
}


@pytest.fixture
def many_jobs(store: JobStore, database: Database, new_job: Callable[..., NewJob]) -> None:
    """Store 3,000 ended jobs, a hundred that wait and four that run."""
    for _ in range(3):
        store.create([new_job(input={"texts": ["x" * 1000]}) for _ in range(1000)])
    ended: dict[str, Any] = {
        "state": "succeeded",
        "claimable": False,
        "finished_at": now(),
        "expires_at": now() + 10**9,
        "cache_key": jobs.c.id,
    }
    with database.begin() as connection:
        connection.execute(update(jobs).values(ended))
        clocks = [{"pool": "default", "priority": 1, "tenant": f"t{n}", "vtime": n} for n in range(3000)]
        connection.execute(insert(tenant_clocks), clocks)
    store.create([new_job(start_within=timedelta(minutes=5)) for _ in range(104)])
    claims = store.claim(W1, ["default"], limit=4)
    artifact = Artifact(name="n", file=_FILE, media_type="image/png", bytes=1)
    store.succeed(claims.pop(), Success(result={}, artifacts=[artifact]))
    with database.begin() as connection:
        copies = select(jobs.c.id, literal("e" * 64), literal("input"))
        connection.execute(insert(job_files).from_select(["job_id", "file", "role"], copies))
        names = [column.name for column in idempotency_keys.c]
        keys = select(literal("local"), jobs.c.id, literal("f" * 64), jobs.c.id, now())
        connection.execute(insert(idempotency_keys).from_select(names, keys))
        connection.execute(insert(deliveries), [_delivery(number) for number in range(3000)])
        connection.execute(insert(files), [_upload(number) for number in range(3000)])
    if database.dialect == "postgresql":
        with database.begin() as connection:
            connection.exec_driver_sql("ANALYZE")


def _delivery(number: int) -> dict[str, Any]:
    """Return a message that ended lately, or, every hundredth, one that is due."""
    is_due = number % 100 == 0
    return {
        "id": f"msg_{number}",
        "tenant": LOCAL,
        "url": "https://hooks.example",
        "event": "job.succeeded",
        "job_id": f"job_{number}",
        "state": "pending" if is_due else "delivered",
        "attempts": 0,
        "next_at": 1 if is_due else None,
        "created_at": 1,
        "ended_at": None if is_due else 2**42 + number,
        "body": "{}",
        "log": [],
    }


def _upload(number: int) -> dict[str, Any]:
    """Return an upload that is to be reviewed some day, or, every hundredth, now."""
    return {
        "id": f"{number:064x}",
        "tenant": LOCAL,
        "media_type": "image/png",
        "bytes": 1,
        "created_at": 1,
        "review_at": 1 if number % 100 == 0 else 2**42 + number,
    }


@contextmanager
def _explained(database: Database) -> Iterator[list[str]]:
    """Yield a list that fills with the lines of the plan of every statement that runs."""
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN (COSTS OFF) "
    plan: list[str] = []

    def note(connection: Any, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        if not isinstance(parameters, list):
            cursor = connection.connection.cursor()
            cursor.execute(explain + statement, parameters)
            plan.extend(str(row[-1]) for row in cursor.fetchall())
            cursor.close()

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield plan
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def _walks_the_table(plan: list[str]) -> bool:
    # PostgreSQL's words for it, and SQLite's, which are followed by the index if there is one.
    tables = "jobs|job_files|tenant_clocks|deliveries|idempotency_keys|files"
    words = re.compile(rf"Seq Scan on ({tables})\b|SCAN ({tables})$")
    return any(words.search(line) for line in plan)


@pytest.mark.usefixtures("many_jobs")
@pytest.mark.parametrize(("index", "ask"), _ASK.values(), ids=_ASK.keys())
def test_the_question_keeps_its_index(
    store: JobStore, database: Database, index: str, ask: Callable[[JobStore], object]
) -> None:
    with _explained(database) as plan:
        ask(store)
    assert any(re.search(index, line) for line in plan), plan
    assert not _walks_the_table(plan)


@pytest.mark.usefixtures("many_jobs")
@pytest.mark.parametrize("question", ["claim", "has_work", "list", "list_state", "list_error"])
def test_the_answer_comes_in_order_without_sorting(
    store: JobStore, database: Database, question: str
) -> None:
    with _explained(database) as plan:
        _ASK[question][1](store)
    assert not any("Sort" in line or "TEMP B-TREE FOR ORDER BY" in line for line in plan)


@pytest.mark.usefixtures("many_jobs")
def test_a_heartbeat_does_not_walk_the_table(store: JobStore, database: Database) -> None:
    held = {claim.id: claim.attempt for claim in store.claim(W1, ["default"], limit=4)}
    with _explained(database) as plan:
        store.heartbeat(W1, held, {job: Progress(fraction=0.5) for job in held})
    assert plan
    assert not _walks_the_table(plan)

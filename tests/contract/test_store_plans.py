"""Every question that is asked again and again is answered from an index, however many jobs there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, update

from shared.database import Database, now
from shared.jobs import LOCAL, Job, JobState, NewJob, Progress, WorkerId
from shared.store import JobStore
from shared.tables import jobs

W1 = WorkerId("worker-1")


def _position(store: JobStore) -> Job:
    (newest,) = store.list(LOCAL, page_size=1)[0]
    return store.get(LOCAL, newest.id, with_position=True)


_ASK: dict[str, tuple[str, Callable[[JobStore], object]]] = {
    "claim": ("jobs_claim_idx", lambda store: store.claim(W1, ["default"], limit=4)),
    "has_work": ("jobs_claim_idx", lambda store: store.has_work(["default"])),
    "backlog": ("jobs_claim_idx", lambda store: store.backlog()),
    "position": ("jobs_claim_idx", _position),
    # PostgreSQL 18 may also skip through the other one, tenant by tenant.
    "expire_leases": ("jobs_held_idx|jobs_list_state_idx", lambda store: store.expire_leases()),
    "expire_deadlines": ("jobs_start_by_idx", lambda store: store.expire_deadlines()),
    "purge": ("jobs_expires_at_idx", lambda store: store.purge()),
    "list": ("jobs_list_idx", lambda store: store.list(LOCAL, page_size=20)),
    "list_state": ("jobs_list_state_idx", lambda store: store.list(LOCAL, states=[JobState.FAILED])),
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
    }
    with database.begin() as connection:
        connection.execute(update(jobs).values(ended))
    store.create([new_job(start_within=timedelta(minutes=5)) for _ in range(104)])
    store.claim(W1, ["default"], limit=4)
    if database.dialect == "postgresql":
        with database.begin() as connection:
            connection.exec_driver_sql("ANALYZE")


@contextmanager
def _explained(database: Database) -> Iterator[list[str]]:
    """Yield a list that fills with the lines of the plan of every statement that runs."""
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN (COSTS OFF) "
    plan: list[str] = []

    def note(connection: Any, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "WITH", "DELETE")):
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
    return any("Seq Scan on jobs" in line or line.endswith("SCAN jobs") for line in plan)


@pytest.mark.usefixtures("many_jobs")
@pytest.mark.parametrize(("index", "ask"), _ASK.values(), ids=_ASK.keys())
def test_the_question_keeps_its_index(
    store: JobStore, database: Database, index: str, ask: Callable[[JobStore], object]
) -> None:
    with _explained(database) as plan:
        ask(store)
    assert any(re.search(index, line) for line in plan)
    assert not _walks_the_table(plan)


@pytest.mark.usefixtures("many_jobs")
@pytest.mark.parametrize("question", ["claim", "has_work", "list", "list_state"])
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

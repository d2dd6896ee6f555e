"""A filled table is one that the store can work with."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.rows import fill
from shared.database import Database
from shared.jobs import DEFAULT_POOL, JobState, WorkerId
from shared.store import JobStore
from shared.tables import job_files, jobs


def test_a_filled_table_holds_what_the_store_would_have_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"

    history = fill(url, 2_000)

    with closing(Database(url)) as database:
        store = JobStore(database, lease=timedelta(seconds=30), max_attempts=3)
        with database.read() as connection:
            states = Counter(connection.scalars(select(jobs.c.state)))
            linked = connection.scalars(select(func.count()).select_from(job_files)).one()
        found = [store.get(tenant, job) for tenant, job in history.sample]
        [claim] = store.claim(WorkerId("w"), [DEFAULT_POOL])
        page, _ = store.list(history.tenants[0])

    assert sum(states.values()) == len(found) == 2_000
    assert states[JobState.SUCCEEDED] > 1_800
    assert 800 < linked < 1_200
    assert all(job.result for job in found if job.state is JobState.SUCCEEDED)
    assert claim.attempt == 1
    assert len(page) == 50

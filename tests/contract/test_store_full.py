"""A database whose disk is full says so, loses nothing, and goes on when there is room again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.database import Database
from shared.errors import DatabaseFull
from shared.jobs import LOCAL, Job, NewJob
from shared.store import JobStore

#: What each database is made to say, with the words and the code of a disk that is full.
_FULL = {
    "sqlite": ["PRAGMA max_page_count = 1", "CREATE TABLE too_much (words TEXT)"],
    "postgresql": [
        "DO $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
    ],
}


def _fill(database: Database) -> None:
    with database.begin() as connection:
        for statement in _FULL[database.dialect]:
            connection.execute(text(statement))


def test_a_full_database_is_told_from_one_that_is_away(database: Database) -> None:
    with pytest.raises(DatabaseFull, match="disk is full"):
        _fill(database)


@pytest.fixture
def tight(small: Path, sqlite_template: str) -> Iterator[Database]:
    """Open a database on the small disk."""
    database = Database(f"sqlite:///{shutil.copy(sqlite_template, small / 'test.db')}")
    yield database
    database.close()


def test_sqlite_on_a_full_disk_loses_nothing_and_goes_on(
    tight: Database, small: Path, new_job: Callable[..., NewJob]
) -> None:
    store = JobStore(tight, lease=timedelta(seconds=30), max_attempts=3)
    accepted: list[Job] = []

    def submit_until_full() -> None:
        for _ in range(1000):
            accepted.extend(store.create([new_job(input={"texts": ["x" * 50_000]})]))

    (small / "filler").write_bytes(b"x" * 2**20)
    with pytest.raises(DatabaseFull):
        submit_until_full()
    assert accepted
    assert set(store.versions([job.id for job in accepted])) == {job.id for job in accepted}

    (small / "filler").unlink()

    (late,) = store.create([new_job()])
    assert store.get(LOCAL, late.id).id == late.id
    with tight.read() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"

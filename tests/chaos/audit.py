"""What the database itself saw: triggers write down every move of every job, whoever made it.

The service knows nothing of them, so what they tell does not depend on the code under test.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import text

from shared.database import Database
from shared.jobs import MOVES, JobState

_COLUMNS = "at, job_id, event, state, attempt, generation, version, worker"
#: What an update was, by the first line that fits.
_KINDS = """
    CASE
        WHEN NEW.version < OLD.version THEN 'version fell'
        WHEN OLD.state IN ('succeeded', 'failed', 'canceled', 'expired')
            AND NEW.generation = OLD.generation THEN 'end changed'
        WHEN NEW.generation <> OLD.generation THEN 'retry'
        WHEN NEW.attempt <> OLD.attempt THEN 'claim'
        WHEN NEW.state <> OLD.state THEN 'state'
        ELSE 'freed'
    END
"""
#: Of an update that is worth a line: progress and leases are not.
_WORTH = """
    OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt OR NEW.version < OLD.version
    OR OLD.generation <> NEW.generation OR (OLD.worker IS NOT NULL AND NEW.worker IS NULL)
"""
_VALUES = "NEW.id, {kind}, NEW.state, NEW.attempt, NEW.generation, NEW.version, COALESCE(NEW.worker, {old})"

_POSTGRES = f"""\
CREATE TABLE chaos_log (
    seq BIGSERIAL PRIMARY KEY, at BIGINT, job_id TEXT, event TEXT, state TEXT,
    attempt INTEGER, generation INTEGER, version INTEGER, worker TEXT
);
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE moment BIGINT := floor(extract(epoch FROM clock_timestamp()) * 1000);
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chaos_log ({_COLUMNS}) VALUES (moment, {_VALUES.format(kind="'new'", old="NULL")});
        RETURN NEW;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO chaos_log ({_COLUMNS}) VALUES (moment, {_VALUES.format(kind=_KINDS, old="OLD.worker")});
        RETURN NEW;
    END IF;
    INSERT INTO chaos_log (at, job_id, event, state, generation)
        VALUES (moment, OLD.id, 'purge', OLD.state, OLD.generation);
    RETURN OLD;
END $$;
CREATE TRIGGER chaos_new AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_move AFTER UPDATE ON jobs FOR EACH ROW WHEN ({_WORTH}) EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_purge AFTER DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION chaos_note();
"""  # noqa: S608  # nobody's words but ours
_MOMENT = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
_SQLITE = f"""
CREATE TABLE chaos_log (
    seq INTEGER PRIMARY KEY, at INTEGER, job_id TEXT, event TEXT, state TEXT,
    attempt INTEGER, generation INTEGER, version INTEGER, worker TEXT
);
CREATE TRIGGER chaos_new AFTER INSERT ON jobs BEGIN
    INSERT INTO chaos_log ({_COLUMNS}) VALUES ({_MOMENT}, {_VALUES.format(kind="'new'", old="NULL")});
END;
CREATE TRIGGER chaos_move AFTER UPDATE ON jobs WHEN {_WORTH} BEGIN
    INSERT INTO chaos_log ({_COLUMNS}) VALUES ({_MOMENT}, {_VALUES.format(kind=_KINDS, old="OLD.worker")});
END;
CREATE TRIGGER chaos_purge AFTER DELETE ON jobs BEGIN
    INSERT INTO chaos_log (at, job_id, event, state, generation)
        VALUES ({_MOMENT}, OLD.id, 'purge', OLD.state, OLD.generation);
END;
"""  # noqa: S608  # nobody's words but ours


def install(connection: sqlite3.Connection | psycopg.Connection[Any]) -> None:
    """Begin to write down, in a database that has the service's tables and no job yet."""
    if isinstance(connection, sqlite3.Connection):
        connection.executescript(_SQLITE)
    else:
        connection.execute(_POSTGRES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line: what happened to a job."""

    seq: int
    #: Milliseconds since 1970.
    at: int
    job_id: str
    #: new, claim, state, freed, retry, purge; `version fell` and `end changed` may never happen.
    event: str
    state: str
    attempt: int | None
    generation: int
    version: int | None
    #: `host:pid:token` of who held it, for the last time where it was freed.
    worker: str | None

    @property
    def is_end(self) -> bool:
        """Return whether it is the end of a generation."""
        return self.event in {"state", "new"} and JobState(self.state).is_terminal

    @property
    def pid(self) -> int | None:
        """Return the process that held it."""
        return None if self.worker is None else int(self.worker.split(":")[1])


def read(database: Database) -> list[Entry]:
    """Return everything, in order."""
    with database.read() as connection:
        rows = connection.execute(text("SELECT * FROM chaos_log ORDER BY seq")).mappings()
        return [Entry(**row) for row in rows]


def by_job(entries: Iterable[Entry]) -> Mapping[str, list[Entry]]:
    """Return each job's story."""
    stories: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        stories[entry.job_id].append(entry)
    return stories


def faults_in(story: list[Entry]) -> Iterator[str]:
    """Yield what may never happen to a job."""
    state, attempts, ends = None, set[int](), defaultdict[int, int](int)
    for entry in story:
        if entry.event in {"version fell", "end changed"}:
            yield f"{entry.event}: {entry}"
        if entry.event == "claim":
            if entry.attempt in attempts:
                yield f"attempt {entry.attempt} was claimed twice"
            attempts.add(entry.attempt or 0)
        if entry.is_end:
            ends[entry.generation] += 1
        moved = entry.event in {"state", "claim"} and state is not None and entry.state != state
        if moved and JobState(entry.state) not in MOVES[JobState(str(state))]:
            yield f"it went from {state} to {entry.state}"
        state = entry.state
    yield from (f"generation {one} ended {count} times" for one, count in ends.items() if count > 1)

"""A table full of jobs, as weeks of service leave it, filled in bulk."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import JSON, Table, make_url

from shared.database import upgrade
from shared.jobs import DEFAULT_POOL, FileId, JobId, JobState, Json, Priority, TenantId
from shared.tables import files, job_files, jobs, tenant_clocks

#: How a thousand jobs stand.
_STATES = {
    JobState.SUCCEEDED: 950,
    JobState.FAILED: 20,
    JobState.CANCELED: 10,
    JobState.EXPIRED: 5,
    JobState.RUNNING: 5,
    JobState.QUEUED: 10,
}
_TENANTS = 20
#: Between two submits.
_GAP_MS = 500
#: Jobs that are polled, of all that were filled in.
_SAMPLE = 5_000
_LEASE_MS = 3_600_000
#: The share of jobs with a picture.
_PICTURES = 0.5


@dataclass(slots=True)
class History:
    """What was filled in, as far as those who use the table must know."""

    tenants: list[TenantId]
    #: Anywhere in the table, each with its owner.
    sample: list[tuple[TenantId, JobId]] = field(default_factory=list)


#: A job that nobody has claimed yet; what is not named is NULL.
_QUEUED: Json = {
    "pool": DEFAULT_POOL,
    "task": "classify",
    "state": JobState.QUEUED.value,
    "version": 1,
    "claimable": True,
    "attempt": 0,
    "tries_left": 3,
    "alone": False,
    "cache": False,
    "generation": 1,
    "input_bytes": 70_150,
    "stored_bytes": 0,
    "timeout_ms": 300_000,
    "retain_ms": 7 * 86_400_000,
    "fraction": 0.0,
    "stage": "",
    "message": "",
    "labels": {"album": "summer"},
    "timings_ms": {},
    "artifacts": [],
    "provenance": {},
}


def new_file() -> FileId:
    """Return the id of a file that nobody has."""
    return FileId(os.urandom(32).hex())


def result() -> Json:
    """Return the result of a `classify` with five labels."""
    labels = ("tabby cat", "Egyptian cat", "lynx", "red fox", "tiger cat")
    return {
        "labels": [{"label": label, "score": 0.51234 / rank} for rank, label in enumerate(labels, 1)],
        "description": "a tabby cat, perhaps an Egyptian cat",
    }


def provenance() -> Json:
    """Return what a worker of the starter profile says of its models."""
    capabilities = ("TextEncoder", "ImageEncoder", "JointEncoder")
    models = [
        {"capability": name, "id": f"models/{name}", "revision": f"sha256:{'0' * 64}", "grade": "starter"}
        for name in capabilities
    ]
    return {"profile": "starter", "models": models, "device": "cpu", "dtype": "float32"}


def fill(url: str, count: int) -> History:
    """Make the tables, fill in this many jobs with their files, and ANALYZE them."""
    upgrade(url)
    history = History(tenants=[TenantId(f"tenant-{number:02}") for number in range(_TENANTS)])
    past = _Past(history, count)
    write = _fill_sqlite if url.startswith("sqlite") else _fill_postgres
    write(url, past)
    return history


class _Past:
    """The rows of every table, made as they are asked for; the jobs first."""

    def __init__(self, history: History, count: int) -> None:
        self._history = history
        self._count = count
        self._random = random.Random(count)  # noqa: S311  # picks rows, guards nothing
        self._clocks: defaultdict[tuple[TenantId, Priority], int] = defaultdict(int)
        #: Owner, job, file, when.
        self._uploads: list[tuple[TenantId, JobId, FileId, int]] = []

    def tables(self) -> Iterator[tuple[Table, Iterator[Json]]]:
        yield jobs, self._jobs()
        yield files, (self._file(*upload) for upload in self._uploads)
        yield job_files, ({"job_id": job, "file": file, "role": "input"} for _, job, file, _ in self._uploads)
        yield tenant_clocks, (self._clock(*line) for line in self._clocks.items())

    def _jobs(self) -> Iterator[Json]:
        # Ids carry the time, so that those of the present come after these.
        first = time.time_ns() // 1_000_000 - self._count * _GAP_MS
        sampled = set(self._random.sample(range(self._count), min(_SAMPLE, self._count)))
        states = self._states()
        # As many short queues as tenants of different size.
        weights = [1 / (number + 1) for number in range(_TENANTS)]
        owners = self._random.choices(self._history.tenants, weights, k=self._count)
        for number, (owner, state) in enumerate(zip(owners, states, strict=True)):
            row = self._job(owner, state, first + number * _GAP_MS)
            if number in sampled:
                self._history.sample.append((owner, row["id"]))
            yield row

    def _states(self) -> list[JobState]:
        """Return the state of each job: what is under way is young."""
        pool = [state for state, share in _STATES.items() for _ in range(share)]
        young = {JobState.RUNNING, JobState.QUEUED}
        states = [pool[self._random.randrange(len(pool))] for _ in range(self._count)]
        return sorted(states, key=lambda state: state in young)

    def _job(self, owner: TenantId, state: JobState, at: int) -> Json:
        job_id = JobId(f"job_{at:012x}{self._random.randbytes(10).hex()}")
        given: Json = {"labels": ["cat", "dog", "cup of coffee"], "top_k": 5}
        if self._random.random() < _PICTURES:
            file = FileId(self._random.randbytes(32).hex())
            self._uploads.append((owner, job_id, file, at))
            given["image"] = {"file": file}
        else:
            given["text"] = "the model of a space shuttle behind her"
        priority = Priority.NORMAL
        vtime = self._clocks[owner, priority]
        self._clocks[owner, priority] = vtime + 1
        new = {"id": job_id, "tenant": owner, "priority": int(priority), "vtime": vtime, "input": given}
        moments = {"created_at": at, "queued_at": at, "run_after": at}
        return _QUEUED | new | moments | self._since(state, at)

    def _since(self, state: JobState, at: int) -> Json:
        """Return what became of a job, as columns."""
        started = at + 20
        if state is JobState.QUEUED:
            return {}
        base: Json = {"state": state.value, "claimable": False, "version": 2, "attempt": 1, "tries_left": 2}
        if state is JobState.RUNNING:
            lease = time.time_ns() // 1_000_000 + _LEASE_MS
            return base | {"started_at": started, "worker": "somewhere:1:0", "lease_until": lease}
        ended = base | {"version": 3, "finished_at": started + 30, "expires_at": started + _KEPT_MS}
        if state is JobState.SUCCEEDED:
            timings = {"decode": 2.125, "extract": 9.5, "model": 6.25, "convert": 1.0, "output": 0.125}
            done = {"result": _RESULT, "provenance": _PROVENANCE, "timings_ms": timings, "fraction": 1.0}
            return ended | done | {"started_at": started, "stage": "output", "batch_size": 8}
        if state is JobState.FAILED:
            words = "the image is truncated or broken"
            broken = {"error_code": "image_corrupt", "error_message": words, "error_retryable": False}
            return ended | broken | {"started_at": started}
        return ended

    @staticmethod
    def _file(owner: TenantId, _job: JobId, file: FileId, at: int) -> Json:
        size = {"bytes": 70_000, "width": 640, "height": 480}
        moments = {"created_at": at, "review_at": at + _KEPT_MS}
        return {"tenant": owner, "id": file, "media_type": "image/jpeg", **moments, **size}

    @staticmethod
    def _clock(line: tuple[TenantId, Priority], vtime: int) -> Json:
        tenant, priority = line
        return {"pool": DEFAULT_POOL, "priority": int(priority), "tenant": tenant, "vtime": vtime}


def _fill_sqlite(url: str, past: _Past) -> None:
    connection = sqlite3.connect(str(make_url(url).database), isolation_level=None)
    with closing(connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")  # 256 MiB
        connection.execute("BEGIN")
        for table, rows in past.tables():
            # An index is made faster at once than row by row.
            indexes = _indexes(connection, table)
            for name, _ in indexes:
                connection.execute(f'DROP INDEX "{name}"')
            places = ", ".join("?" * len(table.columns))
            connection.executemany(
                f'INSERT INTO "{table.name}" ({_names(table)}) VALUES ({places})',  # noqa: S608  # our own names
                _lines(table, rows),
            )
            for _, statement in indexes:
                connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _indexes(connection: sqlite3.Connection, table: Table) -> list[tuple[str, str]]:
    """Return name and statement of each index that was made by one."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    return list(connection.execute(query, (table.name,)))


def _fill_postgres(url: str, past: _Past) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for table, rows in past.tables():
            with connection.cursor().copy(f'COPY "{table.name}" ({_names(table)}) FROM STDIN') as copy:
                for line in _lines(table, rows):
                    copy.write_row(line)
            connection.execute(f'VACUUM (ANALYZE) "{table.name}"')
        connection.execute("CHECKPOINT")


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _lines(table: Table, rows: Iterable[Json]) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each row in the order of the columns, JSON as text."""
    documents = {column.name for column in table.columns if isinstance(column.type, JSON)}
    names = [(column.name, column.name in documents) for column in table.columns]
    for row in rows:
        yield tuple(_text(row.get(name)) if is_document else row.get(name) for name, is_document in names)


def _text(document: Any) -> str | None:
    """Return JSON as text; what is text already stays as it is."""
    return document if document is None or isinstance(document, str) else json.dumps(document)


#: How long ended jobs are kept.
_KEPT_MS = 7 * 86_400_000
_RESULT = json.dumps(result(), separators=(",", ":"))
_PROVENANCE = json.dumps(provenance(), separators=(",", ":"))

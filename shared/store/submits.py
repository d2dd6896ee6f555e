"""What the API asks of jobs: create, get, list, cancel, retry."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ClauseElement,
    Connection,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)

from shared.database import Database
from shared.errors import NotFound, StoreUnavailable
from shared.jobs import Job, JobId, JobState, Json, NewFile, NewJob, TenantId
from shared.store.answers import CACHED, answer, link
from shared.store.edge import Edge
from shared.store.fairness import Tagger, Tags, lines_of, take_tags
from shared.store.files import record
from shared.store.generations import begin_generation
from shared.store.idempotency import known_as, take_keys
from shared.store.messages import TOLD, book, is_told
from shared.store.moves import ended
from shared.store.pages import LARGEST_PAGE, page_query, write_token
from shared.store.rows import GIVEN, JOB_COLUMNS, NEW, Row, job_of, queued_job, values_of
from shared.store.statements import Statement, among, constant, listed
from shared.tables import deliveries, jobs

#: A position is counted no further: nobody so far back needs the exact number, and counting takes time.
LAST_POSITION = 1_000

_NO_LABELS: Mapping[str, str] = MappingProxyType({})
# Inside the class, `list` is a method.
_Jobs = list[Job]


class Submits(Edge):
    """Jobs as their tenants see them: a foreign job is an unknown one."""

    def __init__(self, database: Database, *, lease: timedelta, max_attempts: int) -> None:
        super().__init__(database, lease=lease, max_attempts=max_attempts)
        self._tagger = Tagger(database)

    def create(self, new: Sequence[NewJob], *, files: Sequence[NewFile] = ()) -> _Jobs:
        """Store jobs that any worker of their pool may claim, all or none, and return them in order.

        One that is `answered_by` a job whose result is still there has succeeded at once. In place of one
        whose key came before, that submit's job is returned, as it is now; it has another id.

        Args:
            files: uploads that are recorded along with them; a known one stays as it was.

        Raises:
            KeyReused: a key came with another submit before; nothing is stored.
        """
        if not new and not files:
            return []
        try:
            return self._store(new, files)
        except StoreUnavailable:
            # The answer to COMMIT may have been lost; all are there or none is.
            ids = self._stored_as(new)
            found = self.many(ids)
            if not ids or not found.keys() >= set(ids):
                raise
            return [found[job_id] for job_id in ids]

    def find_cached(self, tenant: TenantId, keys: Collection[str]) -> dict[str, JobId]:
        """Return the newest of a tenant's jobs that may answer others, for each key that has one."""
        if not keys:
            return {}
        with self._database.read() as connection:
            found: Iterable[Sequence[str]] = CACHED.run(
                connection, {"tenant": tenant, "wanted": json.dumps(sorted(set(keys)))}
            )
            return {row[0]: JobId(row[1]) for row in found if row[1] is not None}

    def many(self, ids: Collection[JobId], tenant: TenantId | None = None) -> dict[JobId, Job]:
        """Return those of some jobs that exist, and are this tenant's if one is given."""
        if not ids:
            return {}
        with self._database.read() as connection:
            found = _read(connection, ids)
        return {job_id: job for job_id, job in found.items() if tenant is None or job.tenant == tenant}

    def get(self, tenant: TenantId, job_id: JobId, *, with_position: bool = False) -> Job:
        """Return a job as it is now.

        Args:
            with_position: also count the jobs of its pool that will be claimed before it, if it is queued;
                `LAST_POSITION` means that many or more.

        Raises:
            NotFound: this tenant has no such job.
        """
        with self._database.read() as connection:
            found = _GET.run(connection, {"wanted": job_id, "wanted_tenant": tenant})
            row = found.mappings().one_or_none()
            if row is None:
                raise NotFound(f"there is no job {job_id}")
            if with_position and row["state"] == JobState.QUEUED.value:
                return job_of(row, position=_AHEAD.run(connection, _place_of(row)).scalar_one())
            return job_of(row)

    def versions(self, ids: Collection[JobId]) -> dict[JobId, tuple[int, JobState]]:
        """Return version and state of each job that exists, whoever owns it: its watcher has asked `get`."""
        if not ids:
            return {}
        with self._database.read() as connection:
            rows: Sequence[Sequence[Any]] = _VERSIONS.run(connection, listed(connection, ids)).all()
        return {row[0]: (row[1], JobState(row[2])) for row in rows}

    def list(
        self,
        tenant: TenantId,
        *,
        states: Collection[JobState] = (),
        error: str | None = None,
        task: str | None = None,
        labels: Mapping[str, str] = _NO_LABELS,
        created_after: datetime | None = None,
        page_size: int = 50,
        after: str | None = None,
    ) -> tuple[_Jobs, str | None]:
        """Return a page of a tenant's jobs, newest first, and the token of the page after it.

        Args:
            states: any of these; none given, all.
            error: only jobs that failed with this code.
            labels: all of these.
            created_after: aware; that moment itself is not after it.
            page_size: coerced into 1 to `LARGEST_PAGE`.
            after: the token that the page before came with.

        Raises:
            InvalidRequest: `after` is no token of ours.
        """
        size = min(max(page_size, 1), LARGEST_PAGE)
        query = page_query(
            dialect=self._database.dialect,
            tenant=tenant,
            states=states,
            error=error,
            task=task,
            labels=labels,
            created_after=created_after,
            after=after,
        ).limit(size + 1)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        token = write_token(rows[size - 1]) if len(rows) > size else None
        return [job_of(row) for row in rows[:size]], token

    def cancel(self, tenant: TenantId, job_id: JobId) -> Job:
        """Cancel at once a job that no worker holds, ask the worker of one that is held; return the job.

        A job that has ended, or whose worker was asked already, stays as it is.

        Raises:
            NotFound: this tenant has no such job.
        """
        with self._database.begin() as connection:
            asked = connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.tenant == tenant)
                .where(jobs.c.state.in_([JobState.QUEUED.value, JobState.RUNNING.value]))
                .values(_cancelling())
                .returning(*JOB_COLUMNS, *TOLD)
            )
            row = asked.mappings().one_or_none()
            book(connection, [job_id] if row is not None and is_told(row) else [])
        return self.get(tenant, job_id) if row is None else job_of(row)

    def delete(self, tenant: TenantId, job_id: JobId) -> None:
        """Forget a job in whatever state it is, with all that is to be told of it.

        A worker at it finds its claim gone, and stops. Files that nobody else names are swept away, as
        those of a purged job are.

        Raises:
            NotFound: this tenant has no such job.
        """
        values = {"wanted": job_id, "wanted_tenant": tenant}

        def work(connection: Connection) -> bool:
            if _DELETE.run(connection, values).one_or_none() is None:
                return False
            _UNTOLD.run(connection, {"wanted": job_id}).close()
            return True

        if not self._database.write(work):
            raise NotFound(f"there is no job {job_id}")

    def retry(self, tenant: TenantId, job_id: JobId, generation: int | None = None) -> Job:
        """Queue a job again that failed, was canceled or expired, under a new generation; return the job.

        It has all its attempts again. One that is under way or succeeded stays as it is.

        Args:
            generation: the one that is to be followed: another one stays as it is, so that a retry that is
                asked for twice happens once.

        Raises:
            NotFound: this tenant has no such job.
        """
        with self._database.begin() as connection:
            row = begin_generation(
                connection, tenant, job_id, generation=generation, tries=self._max_attempts
            )
        return self.get(tenant, job_id) if row is None else job_of(row)

    def _stored_as(self, new: Sequence[NewJob]) -> Sequence[JobId]:
        if all(job.idempotency is None for job in new):
            return [job.id for job in new]
        with self._database.read() as connection:
            return [known_as(connection, job) for job in new]

    def _store(self, new: Sequence[NewJob], files: Sequence[NewFile]) -> _Jobs:
        waiting = [job for job in new if job.answered_by is None]
        tags = self._tagger.take(waiting) if waiting and self._database.dialect == "postgresql" else None

        def work(connection: Connection) -> _Jobs:
            known = take_keys(connection, new)
            fresh = [job for job in new if job.id not in known]
            record(connection, files)
            stored = answer(connection, fresh)
            stored |= self._queue(connection, [job for job in fresh if job.id not in stored], tags)
            stored |= _read(connection, set(known.values()) - stored.keys())
            return [stored[known.get(job.id, job.id)] for job in new]

        return self._database.write(work)

    def _queue(self, connection: Connection, new: Sequence[NewJob], tags: Tags | None) -> dict[JobId, Job]:
        # Fewer tags than jobs: an answer went away between the look and the deed. More: a submit came again.
        if tags is None or len(tags.starts) != len(new):
            tags = take_tags(connection, lines_of(new))
        created_at = tags.taken_at
        rows = [
            values_of(job, created_at=created_at, vtime=vtime, tries=self._max_attempts)
            for job, vtime in zip(new, tags.starts, strict=True)
        ]
        _INSERT.run_all(connection, rows)
        link(connection, new)
        return {job.id: queued_job(job, created_at=created_at) for job in new}


def _read(connection: Connection, ids: Collection[JobId]) -> dict[JobId, Job]:
    rows = _MANY.run(connection, listed(connection, ids)).mappings() if ids else ()
    return {row["id"]: job_of(row) for row in rows}


def _insert(_: str) -> ClauseElement:
    given: Json = {name: bindparam(name) for name in GIVEN}
    same = {name: constant(value) for name, value in NEW.items()}
    moments: Json = dict.fromkeys(("run_after", "queued_at"), bindparam("created_at"))
    return insert(jobs).values({**same, **given, **moments})


def _cancelling() -> Json:
    # One statement decides between the two, so that no claim or requeue comes between look and deed.
    values = ended(JobState.CANCELED)
    for name in ("finished_at", "expires_at"):
        values[name] = case((jobs.c.claimable, values[name]))
    for name in ("worker", "lease_until"):
        del values[name]
    values["state"] = case((jobs.c.claimable, JobState.CANCELED.value), else_=JobState.CANCELING.value)
    return values


def _ahead(_: str) -> ClauseElement:
    place: tuple[Any, ...] = (bindparam("priority"), bindparam("vtime"), bindparam("id"))
    ahead = (
        select(jobs.c.id)
        .where(jobs.c.pool == bindparam("pool"), jobs.c.claimable)
        .where(tuple_(jobs.c.priority, jobs.c.vtime, jobs.c.id) < tuple_(*place))
        .limit(literal_column(str(LAST_POSITION)))
    )
    return select(func.count()).select_from(ahead.subquery())


def _place_of(row: Row) -> Json:
    return {name: row[name] for name in ("pool", "priority", "vtime", "id")}


_INSERT = Statement(_insert)
_GET = Statement(
    lambda _: select(*JOB_COLUMNS).where(
        jobs.c.id == bindparam("wanted"), jobs.c.tenant == bindparam("wanted_tenant")
    )
)
# Its rows in `job_files` go with it, by the foreign key.
_DELETE = Statement(
    lambda _: (
        delete(jobs)
        .where(jobs.c.id == bindparam("wanted"), jobs.c.tenant == bindparam("wanted_tenant"))
        .returning(jobs.c.id)
    )
)
_UNTOLD = Statement(lambda _: delete(deliveries).where(deliveries.c.job_id == bindparam("wanted")))
_MANY = Statement(lambda dialect: select(*JOB_COLUMNS).where(among(jobs.c.id, dialect)))
_VERSIONS = Statement(
    lambda dialect: select(jobs.c.id, jobs.c.version, jobs.c.state).where(among(jobs.c.id, dialect))
)
_AHEAD = Statement(_ahead)

"""What the API asks of jobs: create, get, list, cancel."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, Select, case, func, insert, select, tuple_, update

from shared.errors import NotFound, StoreUnavailable
from shared.jobs import Job, JobId, JobState, Json, NewJob, TenantId
from shared.store.edge import Edge, chunks
from shared.store.fairness import Tags, take_tags
from shared.store.moves import ended
from shared.store.pages import LARGEST_PAGE, page_query, write_token
from shared.store.rows import Row, files_in, job_of, row_of
from shared.tables import job_files, jobs

#: A position is counted no further: nobody so far back needs the exact number, and counting takes time.
LAST_POSITION = 10_000

_NO_LABELS: Mapping[str, str] = MappingProxyType({})
# Inside the class, `list` is a method.
_Jobs = list[Job]
_Rows = list[Json]


class Submits(Edge):
    """Jobs as their tenants see them: a foreign job is an unknown one."""

    def create(self, new: Sequence[NewJob]) -> _Jobs:
        """Store jobs that any worker of their pool may claim, all or none, and return them in order."""
        if not new:
            return []
        try:
            return [job_of(row) for row in self._store(new)]
        except StoreUnavailable:
            # The answer to COMMIT may have been lost; all are there or none is.
            if new[0].id not in self.versions([new[0].id]):
                raise
            return [self.get(job.tenant, job.id) for job in new]

    def get(self, tenant: TenantId, job_id: JobId, *, with_position: bool = False) -> Job:
        """Return a job as it is now.

        Args:
            with_position: also count the jobs of its pool that will be claimed before it, if it is queued;
                `LAST_POSITION` means that many or more.

        Raises:
            NotFound: this tenant has no such job.
        """
        with self._database.read() as connection:
            found = connection.execute(select(jobs).where(jobs.c.id == job_id, jobs.c.tenant == tenant))
            row = found.mappings().one_or_none()
            if row is None:
                raise NotFound(f"there is no job {job_id}")
            if with_position and row["state"] == JobState.QUEUED.value:
                return job_of(row, position=connection.scalars(_ahead_of(row)).one())
            return job_of(row)

    def versions(self, ids: Collection[JobId]) -> dict[JobId, tuple[int, JobState]]:
        """Return version and state of each job that exists, whoever owns it: its watcher has asked `get`."""
        found: dict[JobId, tuple[int, JobState]] = {}
        with self._database.read() as connection:
            for chunk in chunks(ids):
                columns = select(jobs.c.id, jobs.c.version, jobs.c.state).where(jobs.c.id.in_(chunk))
                for job_id, version, state in connection.execute(columns):
                    found[job_id] = (version, JobState(state))
        return found

    def list(
        self,
        tenant: TenantId,
        *,
        states: Collection[JobState] = (),
        task: str | None = None,
        labels: Mapping[str, str] = _NO_LABELS,
        created_after: datetime | None = None,
        page_size: int = 50,
        after: str | None = None,
    ) -> tuple[_Jobs, str | None]:
        """Return a page of a tenant's jobs, newest first, and the token of the page after it.

        Args:
            states: any of these; none given, all.
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
                .returning(jobs)
            )
            row = asked.mappings().one_or_none()
        return self.get(tenant, job_id) if row is None else job_of(row)

    def _store(self, new: Sequence[NewJob]) -> _Rows:
        if self._database.dialect == "sqlite":
            with self._database.begin() as connection:
                return self._insert(connection, new, take_tags(self._database, connection, new))
        # A tenant's submits wait for each other while tags are taken; they need not wait for the disk too.
        # A tag that a crash gives out again, or that no job gets, is worth one turn.
        with self._database.begin(durable=False) as connection:
            tags = take_tags(self._database, connection, new)
        with self._database.begin() as connection:
            return self._insert(connection, new, tags)

    def _insert(self, connection: Connection, new: Sequence[NewJob], tags: Tags) -> _Rows:
        rows = [
            row_of(job, created_at=tags.taken_at, vtime=vtime, tries=self._max_attempts)
            for job, vtime in zip(new, tags.starts, strict=True)
        ]
        connection.execute(insert(jobs), rows)
        if links := _links(new):
            connection.execute(insert(job_files), links)
        return rows


def _cancelling() -> Json:
    # One statement decides between the two, so that no claim or requeue comes between look and deed.
    values = ended(JobState.CANCELED)
    for name in ("finished_at", "expires_at"):
        values[name] = case((jobs.c.claimable, values[name]))
    for name in ("worker", "lease_until"):
        del values[name]
    values["state"] = case((jobs.c.claimable, JobState.CANCELED.value), else_=JobState.CANCELING.value)
    return values


def _ahead_of(row: Row) -> Select[int]:
    ahead = (
        select(jobs.c.id)
        .where(jobs.c.pool == row["pool"], jobs.c.claimable)
        .where(tuple_(jobs.c.priority, jobs.c.vtime, jobs.c.id) < (row["priority"], row["vtime"], row["id"]))
        .limit(LAST_POSITION)
    )
    return select(func.count()).select_from(ahead.subquery())


def _links(new: Sequence[NewJob]) -> _Rows:
    return [
        {"job_id": job.id, "file": file, "role": "input"}
        for job in new
        for file in sorted(set(files_in(job.input)))
    ]

"""What a worker asks: claim, stay alive, and end a claim in one of five ways."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from shared.database import now
from shared.errors import LeaseLost, StoreUnavailable
from shared.jobs import Claim, Failure, FileId, Job, JobId, JobState, Progress, Success, WorkerId
from shared.store.beats import beat
from shared.store.edge import Edge, chunks, milliseconds
from shared.store.moves import CANCELING, RUNNING, Columns, due, ended, exhausted, failed, fence, waiting
from shared.store.rows import artifact_row, claim_of, job_of
from shared.tables import job_files, jobs

#: When it applies, and what it sets.
Move = tuple[ColumnElement[bool], Columns]

# A job that its user cancelled ends canceled, whichever way its attempt ended: that is what was asked for,
# and a result or an error would say something else.
_CANCEL: Move = (CANCELING, ended(JobState.CANCELED))


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """What a worker learns of the jobs it holds."""

    #: No longer its own; it may stop them, nothing they compute will be stored.
    lost: frozenset[JobId]
    #: Their users want them stopped.
    canceling: frozenset[JobId]


class Claims(Edge):
    """One attempt at a time. Every write is fenced by id, attempt and lease.

    A claim whose lease ran out holds as long as nobody took it away (`expire_leases`).
    """

    def claim(self, worker: WorkerId, pools: Sequence[str], limit: int = 1) -> list[Claim]:
        """Claim the best jobs, if any, without waiting for another worker.

        Args:
            pools: taken in turn, so that a busy one starves none; in each: priority, then fairness, then age.
        """
        claims: list[Claim] = []
        turn = next(self._turns) % max(len(pools), 1)
        with self._database.begin() as connection:
            for pool in (*pools[turn:], *pools[:turn]):
                if len(claims) < limit:
                    claims += self._claim(connection, worker, pool, limit - len(claims))
        return claims

    def has_work(self, pools: Sequence[str]) -> bool:
        """Return whether `claim` would have found a job."""
        with self._database.read() as connection:
            # Not EXISTS: with no order asked for, PostgreSQL may walk the table until it meets one.
            return any(connection.scalars(best(pool).limit(1)).first() is not None for pool in pools)

    def heartbeat(
        self, worker: WorkerId, held: Mapping[JobId, int], progress: Mapping[JobId, Progress]
    ) -> Heartbeat:
        """Renew the leases of a worker's jobs and store how far they are.

        Args:
            held: the attempt of each job.
            progress: of those that have some; one that fell behind what is stored is left out.
        """
        states: dict[JobId, str] = {}
        if held:
            with self._database.begin() as connection:
                for chunk in chunks(held.items(), 200):
                    renewed = connection.execute(beat(worker, dict(chunk), progress, self._lease_ms))
                    states.update((JobId(job), state) for job, state in renewed)
        return Heartbeat(
            lost=frozenset(held.keys() - states.keys()),
            canceling=frozenset(job for job, state in states.items() if state == JobState.CANCELING.value),
        )

    def succeed(self, claim: Claim, success: Success) -> Job:
        """Store a result; a job being cancelled stores none and is returned canceled.

        Raises:
            LeaseLost: the claim holds no longer.
        """
        columns = ended(JobState.SUCCEEDED) | {
            "result": None if success.result_file else success.result,
            "result_file": success.result_file,
            "artifacts": [artifact_row(artifact) for artifact in success.artifacts],
            "provenance": success.provenance,
            "timings_ms": dict(success.timings_ms),
            "batch_size": success.batch_size,
            "fraction": 1.0,
        }
        made = {(artifact.file, "artifact") for artifact in success.artifacts}
        if success.result_file:
            made.add((success.result_file, "result"))
        return self._end(claim, (RUNNING, columns), made=made)

    def fail(self, claim: Claim, failure: Failure) -> Job:
        """End a job with an error; one being cancelled is canceled instead.

        Raises:
            LeaseLost: the claim holds no longer.
        """
        return self._end(claim, (RUNNING, failed(failure)))

    def requeue(self, claim: Claim, failure: Failure, delay: timedelta) -> Job:
        """Let a job wait for its next attempt, or fail it when none is left; the user sees it running on.

        Raises:
            LeaseLost: the claim holds no longer.
        """
        last_words = f"no attempt is left; the last one ended with {failure.code}: {failure.message}"
        return self._end(
            claim,
            (RUNNING & (jobs.c.tries_left > 0), waiting(milliseconds(delay))),
            (RUNNING, exhausted(last_words)),
        )

    def release(self, claim: Claim) -> None:
        """Give a job back unharmed: the attempt is not used up, though its number is.

        Raises:
            LeaseLost: the claim holds no longer.
        """
        self._end(claim, (RUNNING, waiting() | {"tries_left": jobs.c.tries_left + 1}))

    def confirm_canceled(self, claim: Claim) -> Job:
        """End a job whose user cancelled it.

        Raises:
            LeaseLost: the claim holds no longer, or nobody cancelled the job.
        """
        return self._end(claim)

    def _claim(self, connection: Connection, worker: WorkerId, pool: str, limit: int) -> list[Claim]:
        statement = claim_statement(worker, pool, limit, self._lease_ms)
        rows = connection.execute(statement).mappings().all()
        rows = sorted(rows, key=lambda row: (row["priority"], row["vtime"], row["id"]))
        return [claim_of(row) for row in rows]

    def _end(self, claim: Claim, *moves: Move, made: Collection[tuple[FileId, str]] = ()) -> Job:
        """Make the first move that applies, or the cancelling one."""
        try:
            with self._database.begin() as connection:
                job = _move(connection, claim, (*moves, _CANCEL))
                if made and job.state is JobState.SUCCEEDED:
                    links = [{"job_id": job.id, "file": file, "role": role} for file, role in sorted(made)]
                    connection.execute(insert(job_files), links)
                return job
        except StoreUnavailable as unavailable:
            return self._outcome(claim, moves, unavailable)

    def _outcome(self, claim: Claim, moves: Sequence[Move], unavailable: StoreUnavailable) -> Job:
        """Return the job if it moved after all: the answer to COMMIT may have been lost."""
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == claim.id)).mappings().one_or_none()
        if row is not None and row["attempt"] == claim.attempt and row["worker"] is not None:
            raise unavailable
        reachable = {columns.get("state", JobState.RUNNING.value) for _, columns in (*moves, _CANCEL)}
        if row is None or row["attempt"] != claim.attempt or row["state"] not in reachable:
            raise _lost(claim)
        return job_of(row)


def claim_statement(worker: WorkerId, pool: str, limit: int, lease_ms: int) -> ReturningUpdate[Any]:
    """Return the one statement that claims the best jobs of a pool; its rows are what `claim_of` reads."""
    # A common table expression runs once; as a subquery, PostgreSQL may run it again for another row, and
    # skipping what it locked itself, claim more than the limit.
    picked = best(pool).limit(limit).with_for_update(skip_locked=True).cte("picked")
    return (
        update(jobs)
        .where(jobs.c.id.in_(select(picked.c.id)))
        .values(
            state=JobState.RUNNING.value,
            version=jobs.c.version + 1,
            claimable=False,
            attempt=jobs.c.attempt + 1,
            tries_left=jobs.c.tries_left - 1,
            worker=worker,
            lease_until=now() + lease_ms,
            started_at=func.coalesce(jobs.c.started_at, now()),
            fraction=0.0,
            stage="",
            message="",
        )
        .returning(jobs, (now() - jobs.c.queued_at).label("queued_for_ms"))
    )


def best(pool: str) -> Select[str]:
    """Return the query for what may be claimed in a pool, in order; an index holds it ready."""
    return (
        select(jobs.c.id)
        .where(jobs.c.pool == pool, due(now()))
        .order_by(jobs.c.priority, jobs.c.vtime, jobs.c.id)
    )


def _move(connection: Connection, claim: Claim, moves: Sequence[Move]) -> Job:
    for applies, columns in moves:
        moved = update(jobs).where(fence(claim), applies).values(columns).returning(jobs)
        row = connection.execute(moved).mappings().one_or_none()
        if row is not None:
            return job_of(row)
    raise _lost(claim)


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"attempt {claim.attempt} at {claim.id} is no longer this worker's")

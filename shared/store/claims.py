"""What a worker asks: claim, stay alive, and end a claim in one of five ways."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Connection,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy import cast as as_type

from shared.database import encoded, now
from shared.errors import LeaseLost, StoreUnavailable
from shared.jobs import Claim, Failure, FileId, JobId, JobState, Progress, Success, WorkerId
from shared.store.answers import LINK
from shared.store.beats import BEAT, told
from shared.store.edge import Edge, milliseconds
from shared.store.endings import CANCEL, EXHAUST, FAIL, RELEASE, REQUEUE, SUCCEED, Ending, exhausted_by, why
from shared.store.messages import book
from shared.store.moves import due
from shared.store.rows import CLAIM_COLUMNS, artifact_row, claim_of
from shared.store.statements import Statement
from shared.tables import jobs

#: An ending, and its values.
Move = tuple[Ending, Mapping[str, Any]]


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

    def claim(
        self, worker: WorkerId, pools: Sequence[str], limit: int = 1, *, suspects: bool = False
    ) -> list[Claim]:
        """Claim the best jobs, if any, without waiting for another worker.

        Args:
            pools: taken in turn, so that a busy one starves none; in each: priority, then fairness, then age.
            suspects: claim jobs that were in flight when a worker died, and nothing else. One of them may
                have killed it: run each with nothing beside it in the process, or it takes its neighbours'
                attempts.
        """
        turn = next(self._turns) % max(len(pools), 1)
        ordered = (*pools[turn:], *pools[:turn])

        def work(connection: Connection) -> list[Claim]:
            claims: list[Claim] = []
            for pool in ordered:
                if len(claims) < limit:
                    claims += self._claim(connection, worker, pool, limit - len(claims), suspects=suspects)
            return claims

        return self._database.write(work)

    def has_work(self, pools: Sequence[str]) -> bool:
        """Return whether `claim` would have found a job that is no suspect."""
        return self._finds(_FIRST, pools)

    def has_suspects(self, pools: Sequence[str]) -> bool:
        """Return whether `claim` would have found a suspect."""
        return self._finds(_FIRST_SUSPECT, pools)

    def _finds(self, first: Statement, pools: Sequence[str]) -> bool:
        with self._database.read() as connection:
            # Not EXISTS: with no order asked for, PostgreSQL may walk the table until it meets one.
            return any(first.run(connection, {"pool": pool}).first() is not None for pool in pools)

    def heartbeat(
        self, worker: WorkerId, held: Mapping[JobId, int], progress: Mapping[JobId, Progress]
    ) -> Heartbeat:
        """Renew the leases of a worker's jobs and store how far they are.

        Args:
            held: the attempt of each job.
            progress: of those that have some; one that fell behind what is stored is left out.
        """
        if not held:
            return Heartbeat(lost=frozenset(), canceling=frozenset())

        values = {"told": told(held, progress), "holder": worker, "lease_ms": self._lease_ms}

        def work(connection: Connection) -> dict[JobId, str]:
            renewed: Iterable[Sequence[str]] = BEAT.run(connection, values)
            return {JobId(row[0]): row[1] for row in renewed}

        # Not in a transaction beside that of the endings: each could hold a row that the other waits for.
        states = self._database.write(work)
        return Heartbeat(
            lost=frozenset(held.keys() - states.keys()),
            canceling=frozenset(job for job, state in states.items() if state == JobState.CANCELING.value),
        )

    def succeed(self, claim: Claim, success: Success) -> JobState:
        """Store a result; a job being cancelled stores none, and the answer is `CANCELED`.

        Raises:
            LeaseLost: the claim holds no longer.
        """
        result = None if success.result_file or success.result is None else encoded(success.result)
        artifacts = [artifact_row(artifact) for artifact in success.artifacts]
        values = {
            "result": result,
            "result_file": success.result_file,
            "artifacts": encoded(artifacts),
            "provenance": encoded(success.provenance),
            "timings_ms": encoded(dict(success.timings_ms)),
            "batch_size": success.batch_size,
            "cache_key": success.cache_key,
            "stored_bytes": success.stored_bytes,
        }
        made = {(artifact.file, "artifact") for artifact in success.artifacts}
        if success.result_file:
            made.add((success.result_file, "result"))
        return self._end(claim, (SUCCEED, values), made=made)

    def fail(self, claim: Claim, failure: Failure) -> JobState:
        """End a job with an error; one being cancelled is canceled instead.

        Raises:
            LeaseLost: the claim holds no longer.
        """
        return self._end(claim, (FAIL, why(failure)))

    def requeue(self, claim: Claim, failure: Failure, delay: timedelta) -> JobState:
        """Let a job wait for its next attempt, or fail it when none is left; the user sees it running on.

        Raises:
            LeaseLost: the claim holds no longer.
        """
        last_words = f"no attempt is left; the last one ended with {failure.code}: {failure.message}"
        again = (REQUEUE, {"delay_ms": milliseconds(delay)})
        return self._end(claim, again, (EXHAUST, why(exhausted_by(last_words))))

    def release(self, claim: Claim, delay: timedelta = timedelta(0)) -> JobState:
        """Give a job back unharmed, to be claimed after the delay: the attempt is not used up, though its
        number is.

        Raises:
            LeaseLost: the claim holds no longer.
        """
        return self._end(claim, (RELEASE, {"delay_ms": milliseconds(delay)}))

    def confirm_canceled(self, claim: Claim) -> JobState:
        """End a job whose user cancelled it.

        Raises:
            LeaseLost: the claim holds no longer, or nobody cancelled the job.
        """
        return self._end(claim)

    def _claim(
        self, connection: Connection, worker: WorkerId, pool: str, limit: int, *, suspects: bool
    ) -> list[Claim]:
        values = {"pool": pool, "claimer": worker, "lease_ms": self._lease_ms}
        rows = _claim_of_at_most(limit, suspects=suspects).run(connection, values).mappings().all()
        rows = sorted(rows, key=lambda row: (row["priority"], row["vtime"], row["id"]))
        return [claim_of(row) for row in rows]

    def _end(self, claim: Claim, *moves: Move, made: Collection[tuple[FileId, str]] = ()) -> JobState:
        """Make the first move that applies, or the cancelling one."""
        # A job that its user cancelled ends canceled, whichever way its attempt ended: that is what was asked
        # for, and a result or an error would say something else.
        moves = (*moves, (CANCEL, {}))

        def work(connection: Connection) -> tuple[JobState | None, int]:
            state, is_told = _move(connection, claim, moves)
            if state is JobState.SUCCEEDED:
                links = ({"job": claim.id, "file": file, "role": role} for file, role in sorted(made))
                LINK.run_all(connection, links)
            return state, book(connection, [claim.id] if is_told else [])

        try:
            state, told_of = self._database.write(work)
        except StoreUnavailable as unavailable:
            return self._outcome(claim, moves, unavailable)
        # Not raised in the work, where it would undo what others do in the same transaction.
        if state is None:
            raise _lost(claim)
        if told_of:
            self.booked.set()
        return state

    def _outcome(self, claim: Claim, moves: Sequence[Move], unavailable: StoreUnavailable) -> JobState:
        """Return the job's state if it moved after all: the answer to COMMIT may have been lost."""
        query = select(jobs.c.attempt, jobs.c.worker, jobs.c.state).where(jobs.c.id == claim.id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is not None and row.attempt == claim.attempt and row.worker is not None:
            raise unavailable
        reachable = {ending.state for ending, _ in moves}
        if row is None or row.attempt != claim.attempt or row.state not in reachable:
            raise _lost(claim)
        return JobState(row.state)


def _best(*, suspects: bool) -> Select[str]:
    return (
        select(jobs.c.id)
        .where(jobs.c.pool == bindparam("pool"), due(now()), jobs.c.alone if suspects else ~jobs.c.alone)
        .order_by(jobs.c.priority, jobs.c.vtime, jobs.c.id)
    )


def _claim(limit: int, *, suspects: bool) -> ClauseElement:
    # A common table expression runs once; as a subquery, PostgreSQL may run it again for another row, and
    # skipping what it locked itself, claim more than the limit.
    few = _best(suspects=suspects).limit(literal_column(str(limit)))
    picked = few.with_for_update(skip_locked=True).cte("picked")
    return (
        update(jobs)
        .where(jobs.c.id.in_(select(picked.c.id)))
        .values(
            state=JobState.RUNNING.value,
            version=jobs.c.version + 1,
            claimable=False,
            attempt=jobs.c.attempt + 1,
            tries_left=jobs.c.tries_left - 1,
            worker=bindparam("claimer"),
            lease_until=now() + as_type(bindparam("lease_ms"), BigInteger),
            started_at=func.coalesce(jobs.c.started_at, now()),
            fraction=0.0,
            stage="",
            message="",
            preview=None,
        )
        .returning(*CLAIM_COLUMNS, (now() - jobs.c.queued_at).label("queued_for_ms"))
    )


def _move(connection: Connection, claim: Claim, moves: Sequence[Move]) -> tuple[JobState | None, bool]:
    """Return where the first move that applied leads, and whether somebody may want to be told of it."""
    for ending, values in moves:
        held = {"held_id": claim.id, "held_attempt": claim.attempt}
        row: Sequence[Any] | None = ending.statement.run(connection, {**held, **values}).one_or_none()
        if row is not None:
            return ending.state, any(told is not None for told in row[1:])
    return None, False


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"attempt {claim.attempt} at {claim.id} is no longer this worker's")


@cache
def _claim_of_at_most(limit: int, *, suspects: bool) -> Statement:
    # The limit stands in the text: for a value, PostgreSQL guesses at a tenth of all that waits, finds the
    # plan that it could keep too dear, and plans every claim anew: 0.3 ms more with 10,000 jobs waiting.
    return Statement(lambda _: _claim(limit, suspects=suspects))


_FIRST = Statement(lambda _: _best(suspects=False).limit(literal_column("1")))
_FIRST_SUSPECT = Statement(lambda _: _best(suspects=True).limit(literal_column("1")))

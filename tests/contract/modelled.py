"""A job as it should be: the same moves as the store's, in a few lines of Python. Times are whole minutes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shared.jobs import MOVES, Job, JobId, JobState, Json, Priority, WorkerId

LEASE = 10
START_WITHIN = 30
DELAY = 60
#: How long an ended job is kept, and a key, which may outlive its job.
RETAIN = 12 * 60
KEPT = 24 * 60
ATTEMPTS = 3

_ENDED_BADLY = {JobState.FAILED, JobState.CANCELED, JobState.EXPIRED}


@dataclass
class Modelled:
    """One job."""

    id: JobId
    priority: Priority
    #: When its generation was asked for.
    begun_at: int
    in_time: bool
    state: JobState = JobState.QUEUED
    version: int = 1
    attempt: int = 0
    generation: int = 1
    tries_left: int = ATTEMPTS
    is_claimable: bool = True
    alone: bool = False
    run_after: int = 0
    #: Who holds it.
    worker: WorkerId | None = None
    lease_until: int = 0
    #: Claimed in this generation.
    has_begun: bool = False
    fraction: float = 0.0
    error: str | None = None
    result: Json | None = None
    expires_at: int | None = None

    def is_due(self, now: int, *, suspects: bool) -> bool:
        """Return whether a worker that asks for such jobs may have it."""
        return (
            self.is_claimable and self.alone is suspects and self.run_after <= now and not self.is_late(now)
        )

    def is_late(self, now: int) -> bool:
        """Return whether nobody started it within its time."""
        waits = self.is_claimable and self.state is JobState.QUEUED
        return waits and self.in_time and self.begun_at + START_WITHIN <= now

    def is_held(self, attempt: int) -> bool:
        """Return whether the claim of this attempt still counts."""
        return self.worker is not None and self.attempt == attempt

    def is_lost(self, now: int) -> bool:
        """Return whether its worker's lease has run out."""
        return self.worker is not None and self.lease_until <= now

    def claim(self, worker: WorkerId, now: int) -> None:
        """Begin an attempt."""
        self._move(JobState.RUNNING)
        self.is_claimable, self.has_begun, self.fraction = False, True, 0.0
        self.attempt += 1
        self.tries_left -= 1
        self.worker, self.lease_until = worker, now + LEASE

    def beat(self, fraction: float | None, now: int) -> None:
        """Renew its lease."""
        self.lease_until = now + LEASE
        if fraction is not None and fraction > self.fraction:
            self.fraction = fraction
            self.version += 1

    def succeed(self, result: Json, now: int) -> JobState:
        """End an attempt with a result, unless its user cancelled it."""
        if self.state is JobState.CANCELING:
            return self.end(JobState.CANCELED, now)
        self.result, self.fraction = result, 1.0
        return self.end(JobState.SUCCEEDED, now)

    def fail(self, code: str, now: int) -> JobState:
        """End an attempt with an error, likewise."""
        if self.state is JobState.CANCELING:
            return self.end(JobState.CANCELED, now)
        self.error = code
        return self.end(JobState.FAILED, now)

    def requeue(self, delay: int, now: int) -> JobState:
        """Wait for the next attempt, if there is one."""
        if self.state is JobState.CANCELING:
            return self.end(JobState.CANCELED, now)
        if self.tries_left == 0:
            return self.fail("attempts_exhausted", now)
        self._move(JobState.RUNNING)
        self.is_claimable, self.worker, self.run_after = True, None, now + delay
        return self.state

    def release(self, delay: int, now: int) -> JobState:
        """Give an attempt back."""
        if self.state is not JobState.CANCELING:
            self.tries_left += 1
        return self.requeue(delay, now)

    def lose(self, now: int) -> None:
        """End an attempt whose worker died."""
        if self.requeue(0, now) is JobState.RUNNING:
            self.alone = True

    def cancel(self, now: int) -> None:
        """Do what a user asked for who wants it no more."""
        if self.is_claimable:
            # One that waits for its next attempt passes through `canceling` in no time.
            self.state = JobState.CANCELING if self.state is JobState.RUNNING else self.state
            self.end(JobState.CANCELED, now)
        elif self.state is JobState.RUNNING:
            self._move(JobState.CANCELING)

    def retry(self, generation: int | None, now: int) -> None:
        """Begin anew, if it ended badly and that generation is the one that is meant."""
        if self.state not in _ENDED_BADLY or generation not in (None, self.generation):
            return
        fresh = Modelled(self.id, self.priority, begun_at=now, in_time=self.in_time)
        alone = self.alone if self.error is None else self.error == "attempts_exhausted"
        kept = {"attempt": self.attempt, "alone": alone}
        grown = {"version": self.version + 1, "generation": self.generation + 1}
        self.__dict__.update(replace(fresh, run_after=now, **kept, **grown).__dict__)  # type: ignore[arg-type]

    def end(self, state: JobState, now: int) -> JobState:
        """Let it rest."""
        self._move(state)
        self.is_claimable, self.worker, self.expires_at = False, None, now + RETAIN
        return state

    def _move(self, state: JobState) -> None:
        if state is not self.state:
            assert state in MOVES[self.state]
        self.state = state
        self.version += 1

    def visible(self) -> tuple[object, ...]:
        """Return what its user sees of it."""
        is_over = self.state.is_terminal
        return (
            *(self.id, self.state, self.version, self.attempt, self.generation, self.priority),
            *(self.error, self.result, self.fraction),
            *(self.has_begun, is_over, is_over, self.generation > 1),
        )

    def inner(self) -> tuple[object, ...]:
        """Return what its row says besides."""
        return self.is_claimable, self.alone, self.tries_left, self.worker


def visible(job: Job) -> tuple[object, ...]:
    """Return the same of the store's job."""
    moments = (job.started_at, job.finished_at, job.expires_at, job.retried_at)
    return (
        *(job.id, job.state, job.version, job.attempt, job.generation, job.priority),
        *(job.error and job.error.code, job.result, job.progress.fraction),
        *(moment is not None for moment in moments),
    )


@dataclass
class Key:
    """An idempotency key that was used."""

    says: str
    job: JobId
    used_at: int

    def answers(self, now: int) -> bool:
        """Return whether its time is not over."""
        return now < self.used_at + KEPT


@dataclass
class World:
    """All jobs and keys, and the time."""

    now: int = 0
    jobs: dict[JobId, Modelled] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)

    def due(self, *, suspects: bool) -> list[Modelled]:
        """Return the jobs that could be claimed."""
        return [job for job in self.jobs.values() if job.is_due(self.now, suspects=suspects)]

    def known(self, key: str | None) -> Key | None:
        """Return a key that answers a job that is still there."""
        found = self.keys.get(key) if key is not None else None
        return found if found and found.answers(self.now) and found.job in self.jobs else None

"""Whatever users, workers and time do to jobs, in whatever order and by two clients: the promises hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from shared.database import Database
from shared.errors import KeyReused, LeaseLost, NotFound
from shared.jobs import (
    LOCAL,
    MOVES,
    Claim,
    Failure,
    Idempotency,
    Job,
    JobId,
    JobState,
    NewJob,
    Priority,
    Progress,
    Success,
    WorkerId,
    new_job_id,
)
from shared.store import JobStore
from shared.tables import jobs, metadata
from tests.contract.modelled import (
    ATTEMPTS,
    DELAY,
    LEASE,
    RETAIN,
    START_WITHIN,
    Key,
    Modelled,
    World,
    visible,
)

Later = Callable[[timedelta], None]

_CLIENTS = st.integers(0, 1)
# The newest is the likeliest to matter.
_WHICH = st.sampled_from([0, 0, 0, 1, 2, 3])
_MOST_JOBS = 4
# No sum of a few of these comes near a time that something depends on.
_PASSING = st.sampled_from([7, 7, 61, 800])
_FAILURE = Failure(code="model_failed", message="broken")
_SLOW = Failure(code="timeout", message="slow", retryable=True)
_RESULT = {"dim": 1}
_PAUSE = timedelta(minutes=DELAY)
#: What a worker may do with a claim, and what that should make of its job.
_DEEDS: Mapping[str, tuple[Callable[[JobStore, Claim], JobState], Callable[[Modelled, int], JobState]]] = {
    "succeed": (
        lambda store, claim: store.succeed(claim, Success(result=_RESULT)),
        lambda job, now: job.succeed(_RESULT, now),
    ),
    "fail": (
        lambda store, claim: store.fail(claim, _FAILURE),
        lambda job, now: job.fail(_FAILURE.code, now),
    ),
    "requeue": (
        lambda store, claim: store.requeue(claim, _SLOW, timedelta(0)),
        lambda job, now: job.requeue(0, now),
    ),
    "requeue later": (
        lambda store, claim: store.requeue(claim, _SLOW, _PAUSE),
        lambda job, now: job.requeue(DELAY, now),
    ),
    "release": (lambda store, claim: store.release(claim), lambda job, now: job.release(0, now)),
    "release later": (
        lambda store, claim: store.release(claim, _PAUSE),
        lambda job, now: job.release(DELAY, now),
    ),
    "confirm": (
        lambda store, claim: store.confirm_canceled(claim),
        lambda job, now: job.end(JobState.CANCELED, now),
    ),
}
_SETTINGS = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class Machine(RuleBasedStateMachine):
    """Two clients of one database, and the world as it should be."""

    def __init__(self, database: Database, stores: Sequence[JobStore], later: Later) -> None:
        super().__init__()
        self.database = database
        self.stores = stores
        self.later = later
        self.world = World()
        self.claims: list[tuple[WorkerId, Claim]] = []
        self.attempts: set[tuple[JobId, int]] = set()
        self.ids: list[JobId] = []
        self.seen: dict[JobId, Job] = {}
        self.looks = 0

    # --- users

    @initialize(in_time=st.booleans())
    def begin(self, in_time: bool) -> None:
        for client in (0, 1):
            self.submit(client, None, "a", Priority.NORMAL, in_time)

    # Few, so that much happens to each.
    @precondition(lambda self: len(self.world.jobs) < _MOST_JOBS)
    @rule(
        client=_CLIENTS,
        key=st.sampled_from([None, None, "k1", "k2"]),
        says=st.sampled_from("aab"),
        priority=st.sampled_from(Priority),
        in_time=st.booleans(),
    )
    def submit(self, client: int, key: str | None, says: str, priority: Priority, in_time: bool) -> None:
        known = self.world.known(key)
        new = NewJob(
            id=new_job_id(),
            task="embed",
            input={},
            priority=priority,
            start_within=timedelta(minutes=START_WITHIN) if in_time else None,
            retain=timedelta(minutes=RETAIN),
            idempotency=None if key is None else Idempotency(key=key, fingerprint=says * 64),
        )
        if known is not None and known.says != says:
            with pytest.raises(KeyReused):
                self.stores[client].create([new])
            return
        (job,) = self.stores[client].create([new])
        if known is not None:
            assert job.id == known.job
            return
        assert job.id == new.id
        self.ids.append(job.id)
        self.world.jobs[job.id] = Modelled(
            job.id, priority, begun_at=self.world.now, in_time=in_time, run_after=self.world.now
        )
        if key is not None:
            self.world.keys[key] = Key(says, job.id, self.world.now)

    @precondition(lambda self: self.ids)
    @rule(client=_CLIENTS, which=_WHICH)
    def cancel(self, client: int, which: int) -> None:
        self._ask(which, self.stores[client].cancel, lambda job: job.cancel(self.world.now))

    @precondition(lambda self: self.ids)
    @rule(client=_CLIENTS, which=_WHICH, behind=st.sampled_from([None, 0, 0, 1]))
    def retry(self, client: int, which: int, behind: int | None) -> None:
        job = self.world.jobs.get(self._id(which))
        generation = None if behind is None else max((job.generation if job else 1) - behind, 0)

        def ask(tenant: Any, job_id: JobId) -> Job:
            return self.stores[client].retry(tenant, job_id, generation)

        self._ask(which, ask, lambda job: job.retry(generation, self.world.now))

    @precondition(lambda self: any(job.state is JobState.QUEUED for job in self.world.jobs.values()))
    @rule(client=_CLIENTS)
    def look_at_the_queue(self, client: int) -> None:
        queued = [job for job in self.world.jobs.values() if job.state is JobState.QUEUED]
        places = [self.stores[client].get(LOCAL, job.id, with_position=True).position for job in queued]
        waiting = sum(job.is_claimable for job in self.world.jobs.values())
        assert len(set(places)) == len(places)
        assert all(place is not None and place < waiting for place in places)

    # --- workers

    @precondition(lambda self: self.world.due(suspects=False) or self.world.due(suspects=True))
    @rule(client=_CLIENTS, limit=st.integers(1, 3), suspects=st.booleans())
    def claim(self, client: int, limit: int, suspects: bool) -> None:
        worker = WorkerId(f"worker-{client}")
        due = self.world.due(suspects=suspects)
        claims = self.stores[client].claim(worker, ["default"], limit, suspects=suspects)

        assert len(claims) == min(limit, len(due))
        taken = {claim.id for claim in claims}
        assert taken <= {job.id for job in due}
        left = [job.priority for job in due if job.id not in taken]
        for claim in claims:
            job = self.world.jobs[claim.id]
            assert all(job.priority <= other for other in left)
            job.claim(worker, self.world.now)
            assert (claim.attempt, claim.alone) == (job.attempt, job.alone)
            assert (claim.id, claim.attempt) not in self.attempts
            self.attempts.add((claim.id, claim.attempt))
            self.claims.append((worker, claim))

    @precondition(lambda self: self.claims)
    @rule(client=_CLIENTS, which=_WHICH, fraction=st.sampled_from([None, 0.25, 0.5]))
    def beat(self, client: int, which: int, fraction: float | None) -> None:
        worker, claim = self._claim(which)
        progress = {} if fraction is None else {claim.id: Progress(fraction=fraction)}
        heard = self.stores[client].heartbeat(worker, {claim.id: claim.attempt}, progress)

        job = self._held(claim)
        assert (claim.id in heard.lost) == (job is None)
        if job is not None:
            assert (claim.id in heard.canceling) == (job.state is JobState.CANCELING)
            job.beat(fraction, self.world.now)

    @precondition(lambda self: self.claims)
    @rule(client=_CLIENTS, which=_WHICH, deed=st.sampled_from(sorted(_DEEDS)))
    def end(self, client: int, which: int, deed: str) -> None:
        _, claim = self._claim(which)
        job = self._held(claim)
        do, change = _DEEDS[deed]
        uncanceled = job is not None and job.state is not JobState.CANCELING
        if job is None or (deed == "confirm" and uncanceled):
            with pytest.raises(LeaseLost):
                do(self.stores[client], claim)
            return
        assert do(self.stores[client], claim) is change(job, self.world.now)
        assert job.tries_left >= 0

    # What the rules above do too, but seldom to the same job.
    @precondition(lambda self: self.world.due(suspects=False) or self.world.due(suspects=True))
    @rule(client=_CLIENTS, deed=st.sampled_from([*sorted(_DEEDS), "die", "die"]))
    def attempt(self, client: int, deed: str) -> None:
        self.claim(client, 1, suspects=not self.world.due(suspects=False))
        if deed == "die":
            self.bury(1 - client, client)
        else:
            self.end(client, 0, deed)

    @precondition(lambda self: self.claims)
    @rule(which=_WHICH)
    def crash(self, which: int) -> None:
        self.claims.remove(self._claim(which))

    # --- time

    @rule(minutes=_PASSING)
    def pass_time(self, minutes: int) -> None:
        self.later(timedelta(minutes=minutes))
        self.world.now += minutes

    @rule(client=_CLIENTS, upkeep=st.sampled_from(["leases", "leases", "deadlines", "jobs", "keys"]))
    def look_after_it(self, client: int, upkeep: str) -> None:
        match upkeep:
            case "leases":
                self._expire_leases(self.stores[client])
            case "deadlines":
                self._expire_deadlines(self.stores[client])
            case "jobs":
                self._purge(self.stores[client])
            case "keys":
                self._purge_keys(self.stores[client])

    @precondition(lambda self: any(job.worker for job in self.world.jobs.values()))
    @rule(client=_CLIENTS, dead=_CLIENTS)
    def bury(self, client: int, dead: int) -> None:
        worker = WorkerId(f"worker-{dead}")
        held = [job for job in self.world.jobs.values() if job.worker == worker]
        assert self.stores[client].expire_leases_of([worker]) == len(held)
        for job in held:
            job.lose(self.world.now)

    def _expire_leases(self, store: JobStore) -> None:
        lost = [job for job in self.world.jobs.values() if job.is_lost(self.world.now)]
        assert store.expire_leases() == len(lost)
        for job in lost:
            job.lose(self.world.now)

    def _expire_deadlines(self, store: JobStore) -> None:
        late = [job for job in self.world.jobs.values() if job.is_late(self.world.now)]
        assert store.expire_deadlines() == len(late)
        for job in late:
            job.end(JobState.EXPIRED, self.world.now)

    def _purge(self, store: JobStore) -> None:
        store.purge()
        known, now = self.world.jobs, self.world.now
        for job_id in [job.id for job in known.values() if job.expires_at and job.expires_at <= now]:
            del known[job_id]

    def _purge_keys(self, store: JobStore) -> None:
        past = [name for name, key in self.world.keys.items() if not key.answers(self.world.now)]
        assert store.purge_keys() == len(past)
        for name in past:
            del self.world.keys[name]

    # --- promises

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        self.looks += 1
        found = self.stores[self.looks % 2].many(self.ids)
        assert {job_id: visible(job) for job_id, job in found.items()} == {
            job_id: job.visible() for job_id, job in self.world.jobs.items()
        }
        assert self._inner() == {job_id: job.inner() for job_id, job in self.world.jobs.items()}
        for job_id, job in found.items():
            assert _is_sound(job)
            assert job_id not in self.seen or _may_follow(self.seen[job_id], job)
        self.seen = found

    def _inner(self) -> dict[str, tuple[object, ...]]:
        columns = (jobs.c.claimable, jobs.c.alone, jobs.c.tries_left, jobs.c.worker)
        with self.database.read() as connection:
            return {row[0]: tuple(row[1:]) for row in connection.execute(select(jobs.c.id, *columns))}

    def _ask(self, which: int, ask: Callable[[Any, JobId], Job], change: Callable[[Modelled], None]) -> None:
        job_id = self._id(which)
        job = self.world.jobs.get(job_id)
        if job is None:
            with pytest.raises(NotFound):
                ask(LOCAL, job_id)
            return
        answered = ask(LOCAL, job_id)
        change(job)
        assert visible(answered) == job.visible()

    def _id(self, which: int) -> JobId:
        return self.ids[-1 - which % len(self.ids)]

    def _claim(self, which: int) -> tuple[WorkerId, Claim]:
        return self.claims[-1 - which % len(self.claims)]

    def _held(self, claim: Claim) -> Modelled | None:
        job = self.world.jobs.get(claim.id)
        return job if job is not None and job.is_held(claim.attempt) else None


def _is_sound(job: Job) -> bool:
    """Return whether what a job says of itself goes together."""
    return (
        (job.result is not None) == (job.state is JobState.SUCCEEDED)
        and (job.error is not None) == (job.state is JobState.FAILED)
        and (job.finished_at is not None) == job.state.is_terminal == (job.expires_at is not None)
        and (job.retried_at is not None) == (job.generation > 1)
    )


def _may_follow(before: Job, after: Job) -> bool:
    """Return whether somebody who saw the one may then see the other, one event later."""
    if visible(after) == visible(before):
        return True
    if after.version <= before.version or after.attempt < before.attempt:
        return False
    if after.generation != before.generation:
        began_anew = before.state.is_terminal and before.state is not JobState.SUCCEEDED
        return began_anew and (after.generation, after.state) == (before.generation + 1, JobState.QUEUED)
    # One that waits for its next attempt is `canceling` for no time at all.
    reachable = MOVES[before.state] | {further for step in MOVES[before.state] for further in MOVES[step]}
    return after.state in reachable or after.state is before.state


def test_no_order_of_events_breaks_a_promise(database: Database, database_url: str, later: Later) -> None:
    other = Database(database_url)
    stores = [
        JobStore(one, lease=timedelta(minutes=LEASE), max_attempts=ATTEMPTS) for one in (database, other)
    ]

    def begin() -> Machine:
        with database.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))
        return Machine(database, stores, later)

    try:
        run_state_machine_as_test(begin, settings=_SETTINGS)
    finally:
        other.close()

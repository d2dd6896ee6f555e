"""Whatever workers, users and time do to a job in whatever order, its promises hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import LeaseLost
from shared.jobs import LOCAL, MOVES, Claim, Failure, Job, JobState, NewJob, Progress, Success, WorkerId
from shared.store import JobStore

TRANSIENT = Failure(code="timeout", message="slow", retryable=True)
# What a worker may do with any claim it ever had.
DEEDS: dict[str, Callable[[JobStore, Claim], object]] = {
    "succeed": lambda store, claim: store.succeed(claim, Success(result={"by": claim.attempt})),
    "fail": lambda store, claim: store.fail(claim, TRANSIENT),
    "requeue": lambda store, claim: store.requeue(claim, TRANSIENT, timedelta(0)),
    "release": lambda store, claim: store.release(claim),
    "confirm": lambda store, claim: store.confirm_canceled(claim),
}
STEPS = st.one_of(
    st.sampled_from(["claim", "claim", "cancel", "beat", "die"]),
    st.tuples(st.sampled_from(sorted(DEEDS)), st.integers(min_value=0, max_value=3)),
)


def _reachable(state: JobState) -> set[JobState]:
    steps = set(MOVES[state])
    return steps | {further for step in steps for further in MOVES[step]} | {state}


def _visible(job: Job) -> Job:
    # Without its times, which the test moves.
    moment = datetime.fromtimestamp(0, UTC)
    return replace(job, created_at=moment, started_at=None, finished_at=None, expires_at=None, timings_ms={})


def _may_follow(before: Job, after: Job) -> bool:
    if before.state.is_terminal:
        return _visible(after) == _visible(before)
    grown = after.version > before.version or _visible(after) == _visible(before)
    return grown and after.attempt >= before.attempt and after.state in _reachable(before.state)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=14))
def test_no_order_of_events_breaks_a_promise(
    store: JobStore, new_job: Callable[..., NewJob], lease_ends: Callable[[], None], steps: list[object]
) -> None:
    pool = uuid4().hex
    (job,) = store.create([new_job(pool=pool, retain=timedelta(days=999))])
    claims: list[Claim] = []
    accepted: list[int] = []
    for step in steps:
        match step:
            case "claim":
                claims += store.claim(WorkerId(f"worker-{len(claims)}"), [pool])
            case "cancel":
                store.cancel(LOCAL, job.id)
            case "beat" if claims:
                worker = WorkerId(f"worker-{len(claims) - 1}")
                store.heartbeat(worker, {job.id: claims[-1].attempt}, {job.id: Progress(fraction=0.5)})
            case "die":
                lease_ends()
                store.expire_leases()
            case (str(deed), int(which)) if claims:
                claim = claims[-1 - which % len(claims)]
                try:
                    DEEDS[deed](store, claim)
                except LeaseLost:
                    pass
                else:
                    # Only the newest claim is ever listened to, and each at most once.
                    assert claim is claims[-1]
                    assert claim.attempt not in accepted
                    accepted.append(claim.attempt)
        after = store.get(LOCAL, job.id)
        assert _may_follow(job, after), (step, job, after)
        assert (after.result is not None) == (after.state is JobState.SUCCEEDED)
        assert (after.error is not None) == (after.state is JobState.FAILED)
        assert (after.finished_at is not None) == after.state.is_terminal
        job = after
    assert len(claims) == len({claim.attempt for claim in claims}) == job.attempt

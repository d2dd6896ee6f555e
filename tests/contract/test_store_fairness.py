"""Whose turn it is, between tenants."""

from __future__ import annotations

from collections.abc import Callable

from shared.jobs import LOCAL, Job, NewJob, Priority, TenantId, WorkerId
from shared.store import JobStore

ADA, BOB, CAT = (TenantId(name) for name in ("ada", "bob", "cat"))
W = WorkerId("worker-1")

MakeJob = Callable[..., NewJob]


def _submit(store: JobStore, new_job: MakeJob, tenant: TenantId, count: int, **given: object) -> list[Job]:
    return store.create([new_job(tenant=tenant, **given) for _ in range(count)])


def _claimed(store: JobStore, count: int) -> list[str]:
    return [store.claim(W, ["default"])[0].tenant for _ in range(count)]


def test_ten_thousand_jobs_do_not_delay_another_tenants_ten(store: JobStore, new_job: MakeJob) -> None:
    for _ in range(10):
        _submit(store, new_job, ADA, 1000)
    assert _claimed(store, 5) == [ADA] * 5
    _submit(store, new_job, BOB, 10)
    tenants = _claimed(store, 21)
    assert tenants.count(BOB) == 10


def test_tenants_with_as_much_to_do_take_turns(store: JobStore, new_job: MakeJob) -> None:
    for tenant in (ADA, BOB, CAT):
        _submit(store, new_job, tenant, 20)
    tenants = _claimed(store, 30)
    assert [tenants.count(tenant) for tenant in (ADA, BOB, CAT)] == [10, 10, 10]
    assert all(set(tenants[turn : turn + 3]) == {ADA, BOB, CAT} for turn in range(0, 30, 3))


def test_an_idle_tenant_saved_nothing_up(store: JobStore, new_job: MakeJob) -> None:
    _submit(store, new_job, BOB, 1)
    _submit(store, new_job, ADA, 100)
    _claimed(store, 60)
    _submit(store, new_job, BOB, 40)
    tenants = _claimed(store, 20)
    assert abs(tenants.count(ADA) - tenants.count(BOB)) <= 1


def test_nothing_is_saved_up_while_nothing_waits(store: JobStore, new_job: MakeJob) -> None:
    # Ada was served fifty times, at once; when both come back, neither is owed anything.
    _submit(store, new_job, ADA, 50)
    _claimed(store, 50)
    _submit(store, new_job, BOB, 20)
    _submit(store, new_job, ADA, 20)
    tenants = _claimed(store, 20)
    assert abs(tenants.count(ADA) - tenants.count(BOB)) <= 1


def test_a_submit_of_many_and_many_submits_are_alike(store: JobStore, new_job: MakeJob) -> None:
    for _ in range(10):
        _submit(store, new_job, ADA, 1)
    _submit(store, new_job, BOB, 10)
    tenants = _claimed(store, 10)
    assert tenants.count(ADA) == tenants.count(BOB) == 5


def test_low_jobs_do_not_hold_back_their_tenants_high_one(store: JobStore, new_job: MakeJob) -> None:
    _submit(store, new_job, ADA, 100, priority=Priority.LOW)
    _submit(store, new_job, BOB, 10, priority=Priority.HIGH)
    _submit(store, new_job, ADA, 1, priority=Priority.HIGH)
    assert ADA in _claimed(store, 2)


def test_a_high_job_does_not_put_newcomers_behind_a_backlog(store: JobStore, new_job: MakeJob) -> None:
    _submit(store, new_job, ADA, 100)
    _submit(store, new_job, ADA, 1, priority=Priority.HIGH)
    assert _claimed(store, 1) == [ADA]
    _submit(store, new_job, BOB, 1)
    assert BOB in _claimed(store, 2)


def test_one_tenants_jobs_go_by_age(store: JobStore, new_job: MakeJob) -> None:
    created = [job.id for _ in range(3) for job in _submit(store, new_job, LOCAL, 3)]
    assert [claim.id for claim in store.claim(W, ["default"], limit=9)] == created


def test_one_submit_may_serve_many_tenants_and_pools(store: JobStore, new_job: MakeJob) -> None:
    new = [
        new_job(tenant=tenant, pool=pool, priority=priority)
        for tenant in (BOB, ADA)
        for pool in ("y", "x")
        for priority in (Priority.LOW, Priority.HIGH)
    ]
    assert [job.id for job in store.create(new)] == [job.id for job in new]
    assert store.backlog() == {"x": 4, "y": 4}

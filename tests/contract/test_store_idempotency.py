"""What an idempotency key promises: however often a submit comes, its job exists once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.database import Database
from shared.errors import KeyReused, StoreUnavailable
from shared.jobs import (
    LOCAL,
    Claim,
    FileId,
    Idempotency,
    Job,
    JobState,
    NewFile,
    NewJob,
    Success,
    TenantId,
    new_job_id,
)
from shared.store import JobStore
from shared.tables import idempotency_keys
from tests.contract.waiting import until_waiting

Make = Callable[..., NewJob]
Claiming = Callable[..., Claim]
Later = Callable[[timedelta], None]
Break = Callable[[str], None]

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def keyed(new_job: Make) -> Make:
    """Return a maker of jobs with an id of their own and the same key, unless told otherwise."""

    def make(key: str = "k1", says: str = "a", **given: Any) -> NewJob:
        return new_job(idempotency=Idempotency(key=key, fingerprint=says * 64), **given)

    return make


def _only(jobs: list[Job]) -> Job:
    (job,) = jobs
    return job


def _count(store: JobStore) -> int:
    return len(store.list(LOCAL, page_size=200)[0])


def _keys(database: Database) -> int:
    with database.read() as connection:
        return len(connection.execute(select(idempotency_keys)).all())


def test_the_same_key_answers_the_same_job(store: JobStore, keyed: Make) -> None:
    first, second = (_only(store.create([keyed()])) for _ in range(2))
    assert second == first
    assert _count(store) == 1


def test_a_replay_tells_how_the_job_stands_now(store: JobStore, keyed: Make, claim: Claiming) -> None:
    store.create([keyed()])
    store.succeed(claim(), Success(result={"dim": 1}))

    job = _only(store.create([keyed()]))
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"dim": 1})


def test_another_submit_with_the_key_is_refused_and_stores_nothing(
    store: JobStore, database: Database, keyed: Make, new_job: Make
) -> None:
    store.create([keyed()])
    upload = NewFile(id=FileId("f" * 64), media_type="image/png", bytes=1)
    with pytest.raises(KeyReused) as refused:
        store.create([new_job(), keyed("k2"), keyed(says="b")], files=[upload])

    assert [problem.pointer for problem in refused.value.problems] == ["/Idempotency-Key"]
    assert (_count(store), _keys(database)) == (1, 1)
    assert store.missing_files(LOCAL, [upload.id]) == {upload.id}


def test_a_key_is_its_tenants_own(store: JobStore, keyed: Make) -> None:
    ids = {_only(store.create([keyed(tenant=TenantId(name), says=name[0])])).id for name in ("ada", "bob")}
    assert len(ids) == 2


def test_jobs_without_keys_and_with_other_keys_are_jobs_of_their_own(
    store: JobStore, new_job: Make, keyed: Make
) -> None:
    jobs = store.create([keyed("k1"), new_job(), keyed("k2"), new_job()])
    again = store.create([keyed("k2"), new_job(), keyed("k1"), keyed("k3")])

    assert [again[0].id, again[2].id] == [jobs[2].id, jobs[0].id]
    assert len({job.id for job in (*jobs, *again)}) == 6


def test_a_key_that_comes_twice_in_one_submit_makes_one_job(store: JobStore, keyed: Make) -> None:
    for _ in range(2):
        first, second = store.create([keyed(), keyed()])
        assert first == second
        assert _count(store) == 1
    with pytest.raises(KeyReused):
        store.create([keyed("k2"), keyed("k2", says="b")])


def test_a_submit_that_was_refused_leaves_its_key_free(
    store: JobStore, database: Database, keyed: Make, new_job: Make
) -> None:
    taken = new_job()
    store.create([taken])
    with pytest.raises(Exception, match="refused a statement"):
        store.create([keyed(), replace(taken)])

    assert _keys(database) == 0
    assert _only(store.create([keyed(says="b")])).state is JobState.QUEUED


def test_a_key_is_kept_for_a_day(store: JobStore, keyed: Make, later: Later) -> None:
    first = _only(store.create([keyed()]))
    later(DAY - MINUTE)
    assert _only(store.create([keyed()])).id == first.id
    later(2 * MINUTE)
    second = _only(store.create([keyed(says="b")]))
    assert second.id != first.id
    later(DAY - MINUTE)
    assert _only(store.create([keyed(says="b")])).id == second.id


def test_a_key_whose_job_is_gone_makes_another(store: JobStore, keyed: Make, later: Later) -> None:
    first = _only(store.create([keyed(retain=MINUTE)]))
    store.cancel(LOCAL, first.id)
    later(2 * MINUTE)
    store.purge()

    second = _only(store.create([keyed(says="b")]))
    assert second.id != first.id
    assert _only(store.create([keyed(says="b")])).id == second.id


def test_old_keys_are_forgotten_and_young_ones_kept(
    store: JobStore, database: Database, keyed: Make, later: Later
) -> None:
    store.create([keyed(f"old{number}") for number in range(3)])
    later(DAY)
    store.create([keyed("young")])

    assert [store.purge_keys(limit=2), store.purge_keys(limit=2), store.purge_keys(limit=2)] == [2, 1, 0]
    assert _keys(database) == 1


def test_many_keys_are_booked_and_answered_at_once(store: JobStore, keyed: Make) -> None:
    first, second = (store.create([keyed(f"k{number}") for number in range(300)]) for _ in range(2))
    assert [job.id for job in second] == [job.id for job in first]


def test_submits_at_the_same_moment_make_one_job(database: Database, store: JobStore, keyed: Make) -> None:
    # Of two clients of the database: neither knows of the other's transactions.
    other = Database(database.engine.url.render_as_string(hide_password=False), pool_size=10)
    try:
        stores = [store, JobStore(other, lease=MINUTE, max_attempts=3)]

        def send(number: int) -> str:
            return _only(stores[number % 2].create([keyed(f"k{number // 16}")])).id

        with ThreadPoolExecutor(16) as pool:
            ids = list(pool.map(send, range(64)))
    finally:
        other.close()
    assert len(set(ids)) == 4
    assert _count(store) == 4


def test_a_key_whose_job_is_gone_is_taken_over_once(
    database: Database, store: JobStore, keyed: Make, later: Later
) -> None:
    gone = _only(store.create([keyed(retain=MINUTE)]))
    store.cancel(LOCAL, gone.id)
    later(2 * MINUTE)
    store.purge()
    other = Database(database.engine.url.render_as_string(hide_password=False), pool_size=10)
    try:
        stores = [store, JobStore(other, lease=MINUTE, max_attempts=3)]
        with ThreadPoolExecutor(8) as pool:
            with database.begin() as connection:
                # They need this row, so that both are under way before one can end.
                connection.execute(update(idempotency_keys).values(key=idempotency_keys.c.key))
                sent = [pool.submit(stores[number % 2].create, [keyed()]) for number in range(8)]
                until_waiting(database, 2)
            assert len({_only(one.result()).id for one in sent}) == 1
    finally:
        other.close()
    assert _count(store) == 1


# On SQLite one writer comes after the other anyway.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_submit_waits_for_the_one_that_came_just_before_it(
    database: Database, store: JobStore, keyed: Make
) -> None:
    first = keyed()
    with ThreadPoolExecutor(1) as pool:
        with _uncommitted(database, first):
            second = pool.submit(store.create, [keyed()])
            until_waiting(database, 1)
            assert not second.done()
        assert _only(second.result(timeout=5)).id == first.id


@contextmanager
def _uncommitted(database: Database, job: NewJob) -> Iterator[None]:
    """Hold a transaction open in which a job was created."""
    with database.begin() as connection:
        inner = _Lent(database, connection)
        JobStore(inner, lease=MINUTE, max_attempts=3).create([job])  # type: ignore[arg-type]  # a part of one
        yield


class _Lent:
    """A database whose works run in a transaction that is open already."""

    def __init__(self, database: Database, connection: Any) -> None:
        self.dialect = "lent"
        self.group = database.group
        self._connection = connection

    def write(self, work: Callable[[Any], Any]) -> Any:
        return work(self._connection)


def test_a_submit_whose_answer_was_lost_has_happened(
    store: JobStore, keyed: Make, new_job: Make, break_commit: Break
) -> None:
    earlier = _only(store.create([keyed("k1")]))
    new = [keyed("k1"), keyed("k2"), new_job()]
    break_commit("after")
    jobs = store.create(new)
    assert [job.id for job in jobs] == [earlier.id, new[1].id, new[2].id]
    assert _only(store.create([keyed("k2")])).id == new[1].id


def test_a_submit_that_did_not_happen_says_so_and_may_come_again(
    store: JobStore, database: Database, keyed: Make, break_commit: Break
) -> None:
    new = [keyed("k1"), keyed("k2")]
    break_commit("before")
    with pytest.raises(StoreUnavailable):
        store.create(new)
    assert _keys(database) == 0
    assert [job.id for job in store.create(new)] == [job.id for job in new]


def test_a_cached_answer_is_the_same_submit_as_well(store: JobStore, keyed: Make, claim: Claiming) -> None:
    source = _only(store.create([keyed("k0", cache=True)]))
    store.succeed(claim(), Success(result={"dim": 1}, cache_key="c1"))

    first = _only(store.create([keyed("k1", answered_by=source.id)]))
    second = _only(store.create([keyed("k1", answered_by=source.id, id=new_job_id())]))
    assert first == second
    assert first.cached_from == source.id

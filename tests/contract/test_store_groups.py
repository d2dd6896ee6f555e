"""Writes that share a transaction: one commit for all, and nobody is hurt by a neighbour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from shared.database import Database
from shared.errors import InternalError, LeaseLost, StoreUnavailable
from shared.jobs import LOCAL, Claim, Failure, FileId, Job, JobState, NewFile, NewJob, Success, WorkerId
from shared.store import JobStore

DEADLINE_S = 20.0
OK = Success(result={"answer": 42})
W1 = WorkerId("worker-1")

Submit = Callable[..., Job]
Call = Callable[[], object]
Outcomes = list[Any]


class Rush:
    """Calls that all come while another write keeps the database busy."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.commits = 0

    def run(self, calls: Sequence[Call]) -> Outcomes:
        """Return what each call returned or raised; `commits` counts theirs."""
        gate = threading.Event()
        writing = threading.Event()
        outcomes: Outcomes = [None] * len(calls)

        def hold(_: Connection) -> None:
            writing.set()
            assert gate.wait(DEADLINE_S)

        def come(place: int) -> None:
            try:
                outcomes[place] = calls[place]()
            except Exception as error:  # noqa: BLE001  # what it raises is what is asked for
                outcomes[place] = error

        threads = [threading.Thread(target=self._database.write, args=(hold,))]
        threads[0].start()
        assert writing.wait(DEADLINE_S)
        for place in range(len(calls)):
            threads.append(threading.Thread(target=come, args=(place,)))
            threads[-1].start()
            self._until_waiting(place + 1)
        event.listen(self._database.engine, "commit", self._count)
        gate.set()
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        event.remove(self._database.engine, "commit", self._count)
        # That of the one that kept the database busy.
        self.commits -= 1
        return outcomes

    def _until_waiting(self, count: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while len(self._database._writers._waiting) < count:
            assert time.monotonic() < deadline, "it did not come to wait"
            time.sleep(0.001)

    def _count(self, _: object) -> None:
        self.commits += 1


@pytest.fixture
def rush(database: Database) -> Rush:
    return Rush(database)


@pytest.fixture
def claims(store: JobStore, new_job: Callable[..., NewJob]) -> list[Claim]:
    """Return twenty claims."""
    store.create([new_job() for _ in range(20)])
    return store.claim(W1, ["default"], limit=20)


def test_submits_that_come_together_share_one_commit(
    store: JobStore, rush: Rush, new_job: Callable[..., NewJob]
) -> None:
    new = [new_job(input={"image": {"file": f"{number:064x}"}}) for number in range(12)]
    uploads = [NewFile(id=FileId(f"{number:064x}"), media_type="image/png", bytes=1) for number in range(12)]
    outcomes = rush.run(
        [lambda job=job, file=file: store.create([job], files=[file])
         for job, file in zip(new, uploads, strict=True)]
    )  # fmt: skip
    assert [created.id for [created] in outcomes] == [job.id for job in new]
    assert rush.commits == 1
    assert [claim.id for claim in store.claim(W1, ["default"], limit=12)] == [job.id for job in new]
    assert store.missing_files(LOCAL, [upload.id for upload in uploads]) == set()


def test_settlements_and_claims_that_come_together_share_one_commit(
    store: JobStore, rush: Rush, claims: list[Claim], submit: Submit
) -> None:
    waiting = {submit().id for _ in range(3)}
    calls: list[Call] = [lambda claim=claim: store.succeed(claim, OK) for claim in claims[:5]]
    calls += [lambda: store.fail(claims[5], Failure(code="timeout", message="slow"))]
    calls += [lambda: store.claim(W1, ["default"])] * 3
    outcomes = rush.run(calls)
    assert outcomes[:6] == [JobState.SUCCEEDED] * 5 + [JobState.FAILED]
    assert {claim.id for [claim] in outcomes[6:]} == waiting
    assert rush.commits == 1


def test_a_failing_work_hurts_no_neighbour(
    store: JobStore, rush: Rush, claims: list[Claim], new_job: Callable[..., NewJob]
) -> None:
    twice = new_job()
    store.create([twice])
    new = new_job()
    outcomes = rush.run(
        [
            lambda: store.succeed(claims[0], OK),
            lambda: store.create([twice]),
            lambda: store.create([new]),
            lambda: store.succeed(claims[1], OK),
        ]
    )
    assert isinstance(outcomes[1], InternalError)
    assert [outcomes[0], outcomes[3]] == [JobState.SUCCEEDED] * 2
    assert [store.get(LOCAL, claim.id).state for claim in claims[:3]] == [
        JobState.SUCCEEDED,
        JobState.SUCCEEDED,
        JobState.RUNNING,
    ]
    assert store.get(LOCAL, new.id).state is JobState.QUEUED


def test_a_lost_lease_does_not_even_slow_its_neighbours(
    store: JobStore, rush: Rush, claims: list[Claim]
) -> None:
    store.succeed(claims[0], OK)
    calls: list[Call] = [lambda claim=claim: store.succeed(claim, OK) for claim in claims[:4]]
    outcomes = rush.run(calls)
    assert isinstance(outcomes[0], LeaseLost)
    assert outcomes[1:] == [JobState.SUCCEEDED] * 3
    assert rush.commits == 1


def test_works_of_a_group_are_done_in_the_order_they_came(
    store: JobStore, rush: Rush, claims: list[Claim]
) -> None:
    failure = Failure(code="timeout", message="slow")
    outcomes = rush.run([lambda: store.succeed(claims[0], OK), lambda: store.fail(claims[0], failure)] * 2)
    assert outcomes[0] is JobState.SUCCEEDED
    assert [type(outcome) for outcome in outcomes[1:]] == [LeaseLost] * 3


@pytest.fixture
def break_second_commit(database: Database, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Lose the answer to the second COMMIT from now, `before` or `after` the database does it."""
    dialect = database.engine.dialect
    commit = dialect.do_commit
    left = [2]

    def broken(connection: Any) -> None:
        left[0] -= 1
        if left[0] or when == "after":
            commit(connection)
        if not left[0]:
            raise dialect.loaded_dbapi.OperationalError("connection lost")

    monkeypatch.setattr(dialect, "do_commit", broken)


@pytest.mark.usefixtures("claims", "break_second_commit")
@pytest.mark.parametrize("when", ["after"])
def test_works_whose_answer_was_lost_have_happened(
    store: JobStore, rush: Rush, claims: list[Claim], new_job: Callable[..., NewJob]
) -> None:
    new = new_job()
    settled, created = rush.run([lambda: store.succeed(claims[0], OK), lambda: store.create([new])])
    assert settled is JobState.SUCCEEDED
    assert created == [store.get(LOCAL, new.id)]
    assert store.get(LOCAL, claims[0].id).state is JobState.SUCCEEDED


@pytest.mark.usefixtures("claims", "break_second_commit")
@pytest.mark.parametrize("when", ["before"])
def test_works_that_did_not_happen_say_so(
    store: JobStore, rush: Rush, claims: list[Claim], new_job: Callable[..., NewJob]
) -> None:
    new = new_job()
    outcomes = rush.run([lambda: store.succeed(claims[0], OK), lambda: store.create([new])])
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
    assert store.versions([new.id]) == {}
    assert store.get(LOCAL, claims[0].id).state is JobState.RUNNING


def test_a_group_is_bounded(database: Database, rush: Rush) -> None:
    rush.run([lambda: database.write(lambda connection: connection.execute(text("SELECT 1")).scalar())] * 100)
    assert rush.commits == 2


def test_who_cannot_write_in_time_is_told_and_nothing_was_done(
    store: JobStore, database: Database, new_job: Callable[..., NewJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = new_job()

    def hold(_: Connection) -> None:
        monkeypatch.setattr("shared.database._PATIENCE_S", 0.01)
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()

    raised: list[Exception] = []

    def try_it() -> None:
        try:
            database.write(lambda connection: connection.execute(text("DELETE FROM jobs")))
        except StoreUnavailable as error:
            raised.append(error)

    store.create([new])
    database.write(hold)
    assert len(raised) == 1
    assert store.versions([new.id]).keys() == {new.id}

"""The sweeper deletes what nobody names, after a grace, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.blobs import FOLDERS
from shared.database import Database
from shared.errors import BlobsUnavailable, StoreUnavailable
from shared.jobs import LOCAL, Claim, FileId, JobState, NewFile, NewJob, Success, new_job_id
from shared.tables import deliveries, files, idempotency_keys, jobs
from tests.unit.worker.conftest import EchoInput, Kernel
from worker.pipeline import Work
from worker.sweeping import Sweeper

GRACE = timedelta(minutes=10)
WEEK = timedelta(days=7)


@dataclass
class Time:
    """Time that passes when it is told to, for the sweeper, the rows and the files."""

    kernel: Kernel
    database: Database
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s

    def passes(self, by: timedelta) -> None:
        self.now_s += by.total_seconds()
        moments = (jobs.c.expires_at, files.c.created_at, files.c.review_at)
        with self.database.begin() as connection:
            for one in moments:
                connection.execute(
                    one.table.update().values({one.name: one - int(by.total_seconds() * 1000)})
                )
        for path in Path(self.kernel.blobs._root).rglob("*"):
            then = path.stat().st_mtime - by.total_seconds()
            os.utime(path, (then, then))


@dataclass
class Swept:
    """A sweeper and what it works on."""

    kernel: Kernel
    time: Time
    sweeper: Sweeper
    leads: list[bool] = field(default_factory=lambda: [True])

    def sweeps(self, times: int = 1) -> None:
        for _ in range(times):
            self.sweeper.round()

    def passes(self, by: timedelta) -> None:
        """Let time pass, with a round of the sweeper now and then."""
        for _ in range(8):
            self.time.passes(by / 8)
            self.sweeper.round()

    def has(self, file: FileId) -> bool:
        return self.kernel.blobs.exists(file)


@pytest.fixture
def swept(kernel: Kernel, database: Database) -> Swept:
    time = Time(kernel, database)
    leads = [True]
    sweeper = Sweeper(
        kernel.store,
        kernel.blobs,
        leads=lambda: leads[0],
        grace=GRACE,
        retain_uploads=WEEK,
        clock=time,
    )
    kernel.blobs.ping()
    sweeper.round()
    return Swept(kernel, time, sweeper, leads)


def _with_result(kernel: Kernel, **given: Any) -> FileId:
    job = kernel.run(input={"word": "x" * 1000}, retain=timedelta(hours=1), **given)
    assert job.result_file is not None
    return job.result_file


def test_the_files_of_a_job_past_its_retention_go_after_the_grace(swept: Swept) -> None:
    result = _with_result(swept.kernel)
    swept.passes(timedelta(hours=1))
    assert swept.kernel.store.list(LOCAL)[0] == []
    assert swept.has(result)
    swept.passes(GRACE)
    assert not swept.has(result)


def test_a_blob_that_is_named_again_within_the_grace_stays(swept: Swept) -> None:
    result = _with_result(swept.kernel)
    swept.passes(timedelta(hours=1))
    assert swept.kernel.store.unnamed([result]) == {result}
    # A request that found it named before the purge, and commits only now.
    swept.kernel.store.create(
        [NewJob(id=new_job_id(), task="echo", input={"word": "a", "image": {"file": result}})]
    )
    swept.passes(5 * GRACE)
    assert swept.has(result)


def test_a_blob_that_is_put_again_within_the_grace_stays(swept: Swept) -> None:
    result = _with_result(swept.kernel)
    swept.passes(timedelta(hours=1))
    swept.time.passes(GRACE - timedelta(seconds=1))
    swept.kernel.blobs.put(swept.kernel.blobs.read(result))
    swept.time.passes(timedelta(minutes=1))
    swept.sweeps()
    assert swept.has(result), "its request may be about to commit"
    swept.passes(3 * GRACE)
    assert not swept.has(result), "its request never did"


def test_the_grace_begins_anew_when_a_blob_loses_its_name_again(swept: Swept, kernel: Kernel) -> None:
    orphan = kernel.blobs.put(b"orphan")
    swept.time.passes(2 * GRACE)
    swept.sweeps()
    swept.time.passes(0.8 * GRACE)
    job = kernel.submit(input={"image": {"file": orphan}}, retain=0.1 * GRACE)
    kernel.store.cancel(LOCAL, job.id)
    swept.time.passes(0.1 * GRACE)
    swept.sweeps()
    assert kernel.store.unnamed([orphan]) == {orphan}
    swept.time.passes(0.2 * GRACE)
    swept.sweeps()
    assert swept.has(orphan)
    swept.time.passes(GRACE)
    swept.sweeps()
    assert not swept.has(orphan)


def test_a_round_forgets_more_than_ends_until_the_next(swept: Swept, database: Database) -> None:
    swept.kernel.store.create([NewJob(id=new_job_id(), task="echo", input={}) for _ in range(1200)])
    with database.begin() as connection:
        connection.execute(jobs.update().values(state="failed", claimable=False, expires_at=0))
    swept.sweeps()
    assert swept.kernel.store.list(LOCAL)[0] == []


def test_keys_and_messages_past_their_time_go_too(swept: Swept, database: Database) -> None:
    key = {"tenant": LOCAL, "key": "k", "fingerprint": "f", "job_id": "j", "created_at": 0}
    message = {
        "id": "m",
        "tenant": LOCAL,
        "url": "u",
        "event": "job.failed",
        "job_id": "j",
        "state": "failed",
    }
    with database.begin() as connection:
        connection.execute(idempotency_keys.insert().values(key))
        connection.execute(
            deliveries.insert().values(message | {"created_at": 0, "ended_at": 0, "body": "", "log": []})
        )
    swept.sweeps()
    with database.read() as connection:
        assert connection.execute(idempotency_keys.select()).all() == []
        assert connection.execute(deliveries.select()).all() == []


def test_a_blob_whose_request_died_goes(swept: Swept) -> None:
    orphans = swept.kernel.blobs.put_many([b"%d" % number for number in range(50)])
    swept.passes(GRACE)
    assert all(map(swept.has, orphans))
    swept.passes(2 * GRACE)
    assert not any(map(swept.has, orphans))


def test_what_is_named_stays_however_old_it_is(swept: Swept, kernel: Kernel) -> None:
    kernel.submit(input={"image": {"file": kernel.blobs.put(b"input")}})
    upload, film = kernel.blobs.put(b"upload"), kernel.blobs.put(b"film")
    kernel.store.add_file(LOCAL, upload, media_type="image/png", size=1, retain=2 * WEEK)
    kernel.store.create([], files=[NewFile(id=film, media_type="video/mp4", bytes=1)])
    swept.passes(timedelta(days=6))
    for content in (b"input", b"upload", b"film"):
        assert swept.kernel.blobs.exists(kernel.blobs.put(content))
    assert len(list(Path(kernel.blobs._root).rglob("?" * 64))) == 3


def test_an_upload_that_no_job_used_goes_with_its_blob(swept: Swept, kernel: Kernel) -> None:
    upload = kernel.blobs.put(b"upload")
    kernel.store.add_file(LOCAL, upload, media_type="image/png", size=1, retain=WEEK)
    swept.passes(WEEK)
    swept.passes(2 * GRACE)
    assert kernel.store.missing_files(LOCAL, [upload]) == {upload}
    assert not swept.has(upload)


def test_what_another_leader_purged_and_left_goes(swept: Swept) -> None:
    result = _with_result(swept.kernel)
    swept.time.passes(timedelta(hours=1))
    assert swept.kernel.store.purge() == [result]
    swept.passes(3 * GRACE)
    assert not swept.has(result)


def test_who_does_not_lead_deletes_nothing_and_forgets_what_it_saw(swept: Swept) -> None:
    result = _with_result(swept.kernel)
    swept.passes(timedelta(hours=1))
    swept.leads[0] = False
    swept.passes(5 * GRACE)
    assert swept.has(result)
    swept.leads[0] = True
    swept.sweeps(2)
    assert swept.has(result), "another leader may have seen it named since"
    swept.passes(3 * GRACE)
    assert not swept.has(result)


def test_a_leader_that_was_stopped_for_long_deletes_nothing_that_was_put_meanwhile(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _with_result(swept.kernel)
    swept.passes(timedelta(hours=1))
    store, blobs, unnamed = swept.kernel.store, swept.kernel.blobs, swept.kernel.store.unnamed
    clock = blobs.clock

    def stopped_after(wanted: Any) -> set[FileId]:
        answer = unnamed(wanted)
        swept.kernel.submit(input={"image": {"file": blobs.put(blobs.read(result))}})
        monkeypatch.setattr(blobs, "clock", lambda: clock() + 10 * GRACE)
        return answer

    swept.time.passes(GRACE)
    monkeypatch.setattr(swept.sweeper, "_look_around", lambda: None)
    monkeypatch.setattr(store, "unnamed", stopped_after)
    swept.sweeps()
    assert swept.has(result)


def test_a_walk_through_all_blobs_takes_about_the_grace(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[str] = []

    def walk(folder: str) -> Iterator[FileId]:
        walked.append(folder)
        return iter(())

    monkeypatch.setattr(swept.kernel.blobs, "names", walk)
    swept.time.passes(GRACE / 2)
    swept.sweeps()
    assert len(walked) == len(FOLDERS) / 2
    swept.time.passes(GRACE / 2)
    swept.sweeps(3)
    assert sorted(walked) == list(FOLDERS)
    swept.time.passes(100 * GRACE)
    swept.sweeps()
    assert len(walked) == 2 * len(FOLDERS)


def test_the_files_of_an_outcome_that_waited_for_the_database_stay(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FileId] = []

    def draw(work: Work, _: EchoInput) -> None:
        made.append(work.artifact("drawing", b"a drawing", "image/png").file)
        swept.time.passes(GRACE)
        swept.sweeps()

    succeed = swept.kernel.store.succeed

    def away(claim: Claim, success: Success) -> JobState:
        monkeypatch.setattr(swept.kernel.store, "succeed", back)
        swept.time.passes(2 * GRACE)
        raise StoreUnavailable("the database does not answer")

    def back(claim: Claim, success: Success) -> JobState:
        # The sweeper finds the database a moment before the outcome does.
        swept.sweeps()
        return succeed(claim, success)

    monkeypatch.setattr(swept.kernel.store, "succeed", away)
    job = swept.kernel.run(draw)
    assert job.state is JobState.SUCCEEDED
    swept.passes(3 * GRACE)
    assert swept.has(made[0])


def test_an_outcome_whose_files_are_gone_is_no_success(swept: Swept) -> None:
    def draw(work: Work, _: EchoInput) -> None:
        file = work.artifact("drawing", b"a drawing", "image/png").file
        swept.kernel.blobs.discard(file, unused_since=swept.kernel.blobs.clock())

    job = swept.kernel.submit(draw)
    swept.kernel.runner.drain()
    assert swept.kernel.job(job).state is JobState.RUNNING
    assert swept.kernel.runner.outcomes()["released"] == 1


def test_what_is_left_of_a_broken_put_goes(swept: Swept) -> None:
    left = Path(swept.kernel.blobs._root) / "incoming" / "left"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half a picture")
    swept.passes(GRACE / 2)
    assert left.exists()
    swept.passes(2 * GRACE)
    assert not left.exists()


@pytest.mark.parametrize("broken", ["names", "clock", "discard"])
def test_rows_go_though_the_blob_store_is_away_and_blobs_once_it_is_back(
    swept: Swept, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise BlobsUnavailable("the blob store is away")

    result = _with_result(swept.kernel)
    with monkeypatch.context() as patch:
        patch.setattr(swept.kernel.blobs, broken, away)
        swept.passes(timedelta(hours=1))
        swept.passes(GRACE)
        assert swept.kernel.store.list(LOCAL)[0] == []
    # A walk reminds of what nobody knows of; this one is known.
    assert swept.has(result) == (broken != "names")
    swept.passes(3 * GRACE)
    assert not swept.has(result)


def test_one_blob_that_cannot_be_deleted_keeps_no_other(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphans = swept.kernel.blobs.put_many([b"%d" % number for number in range(20)])
    discard = swept.kernel.blobs.discard

    def stubborn(file: FileId, **given: Any) -> bool:
        if file == orphans[7]:
            raise BlobsUnavailable("that one is another user's")
        return discard(file, **given)

    monkeypatch.setattr(swept.kernel.blobs, "discard", stubborn)
    swept.passes(3 * GRACE)
    assert [file for file in orphans if swept.has(file)] == [orphans[7]]


def test_a_store_that_is_gone_is_no_trouble(swept: Swept) -> None:
    shutil.rmtree(swept.kernel.blobs._root)
    swept.passes(2 * GRACE)
    assert swept.kernel.blobs.read(swept.kernel.blobs.put(b"new")) == b"new"

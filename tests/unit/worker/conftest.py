"""A worker's kernel in this process: a real store, real blobs, the fake profile, a child once it decodes."""

from __future__ import annotations

import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.blobs import BlobStore
from shared.database import Database
from shared.errors import UrlRefused
from shared.jobs import Claim, Job, NewJob, WorkerId, new_job_id
from shared.schemas.base import TaskInput, TaskResult, TaskSchema
from shared.settings import Limits
from shared.store import JobStore
from worker.engine import BatchLimits, Engine
from worker.fetch import Fetcher
from worker.heartbeat import Heartbeat
from worker.media import Decoder
from worker.media.films import Films
from worker.models.registry import load_profile
from worker.pipeline import Pipeline, Work
from worker.runner import Runner
from worker.targets import Targets

LEASE = timedelta(seconds=30)


class EchoInput(TaskInput):
    word: str = "hello"


class EchoResult(TaskResult):
    word: str


SCHEMA = TaskSchema(summary="Say it again.", input=EchoInput, result=EchoResult, needs=(), example={})


def echo_with(act: Callable[[Work, EchoInput], Any]) -> Pipeline[Any, Any, Any, Any, Any]:
    """Return a pipeline that answers with its input, once `act` has had its way in the extract stage."""
    return Pipeline(
        extract=act,
        convert=lambda _work, _task, value: value,
        fuse=lambda _work, _task, value: value,
        output=lambda _work, task, _value: EchoResult(word=task.word),
    )


def local_fetcher() -> Fetcher:
    """Return what fetches from this machine too, each within 20 s."""
    return Fetcher(
        Targets(private=True, refusal=UrlRefused),
        ssl.create_default_context(),
        Limits(),
        image_time=timedelta(seconds=20),
        film_time=timedelta(seconds=20),
    )


@dataclass
class Kernel:
    """One worker's parts, and what a test wants to do with them."""

    store: JobStore
    blobs: BlobStore
    engine: Engine
    heartbeat: Heartbeat
    runner: Runner
    pipelines: dict[str, Pipeline[Any, Any, Any, Any, Any]]
    silent: dict[str, float] = field(default_factory=dict)

    def submit(self, act: Callable[[Work, EchoInput], Any] | None = None, **fields: Any) -> Job:
        """Create a job whose task does `act`; without one, a job that succeeds."""
        if act is not None:
            self.pipelines["echo"] = echo_with(act)
        job = NewJob(**({"id": new_job_id(), "task": "echo", "input": {}} | fields))
        return self.store.create([job])[0]

    def claim(self, worker: str = "worker") -> Claim:
        """Claim the one job that waits, be it a suspect."""
        pools = ["default"]
        claims = self.store.claim(WorkerId(worker), pools)
        (claim,) = claims or self.store.claim(WorkerId(worker), pools, suspects=True)
        return claim

    def job(self, job: Job) -> Job:
        return self.store.get(job.tenant, job.id)

    def run(self, act: Callable[[Work, EchoInput], Any] | None = None, **fields: Any) -> Job:
        """Submit a job, run everything claimable, return the job."""
        job = self.submit(act, **fields)
        self.runner.drain()
        return self.job(job)


@pytest.fixture
def database(sqlite_template: str, tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'kernel.db')}")
    yield database
    database.close()


@pytest.fixture
def kernel(database: Database, tmp_path: Path) -> Iterator[Kernel]:
    store = JobStore(database, lease=LEASE, max_attempts=3)
    blobs = BlobStore((tmp_path / "blobs").as_uri())
    engine = Engine(
        load_profile("fake", device="cpu", cache_dir=tmp_path).load_all(),
        device="cpu",
        limits=BatchLimits(max_items=8, max_wait=timedelta(milliseconds=5)),
    )
    engine.start()
    silent: dict[str, float] = {}
    heartbeat = Heartbeat(
        store,
        WorkerId("worker"),
        lease=LEASE,
        interval=timedelta(milliseconds=20),
        stuck_after=timedelta(seconds=60),
        device_progress=lambda: silent.get("since", time.monotonic()),
        announce=lambda: None,
    )
    heartbeat.start()
    decoder = Decoder(children=1, memory_bytes=2**30, seconds=10, limits=Limits())
    pipelines = {"echo": echo_with(lambda _work, _task: None)}
    schemas: Mapping[str, TaskSchema] = {"echo": SCHEMA}
    with ThreadPoolExecutor(2) as readers:
        runner = Runner(
            worker=WorkerId("worker"),
            pools=["default"],
            slots=2,
            store=store,
            blobs=blobs,
            engine=engine,
            decoder=decoder,
            films=Films(children=1, memory_bytes=2**31, cpu_seconds=60, silence_s=20, limits=Limits()),
            heartbeat=heartbeat,
            readers=readers,
            schemas=schemas,
            pipelines=pipelines,
            profile="fake",
            identities={},
            inline_result_bytes=100,
            fetcher=local_fetcher(),
        )
        yield Kernel(store, blobs, engine, heartbeat, runner, pipelines, silent)
        heartbeat.close()
        engine.close()
        decoder.close()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Return a function that starts another; whatever was started has ended when the test does."""
    threads: list[threading.Thread] = []

    def start(target: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=target)
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()

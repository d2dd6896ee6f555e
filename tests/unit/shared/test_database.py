"""URLs, SQLite's settings, who may write when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.database import Database, masked, upgrade
from shared.errors import BadConfiguration, InternalError, StoreUnavailable


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'a' / 'b' / 'test.db'}", pool_size=8)
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE counter (value INTEGER CHECK (value < 1000))")
        connection.exec_driver_sql("INSERT INTO counter VALUES (0)")
    yield database
    database.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://ada:s3cret@db/jobs", "postgresql+psycopg://ada:***@db/jobs"),
        ("postgres://ada:s3cret@db:5433/jobs?sslmode=require", "postgresql+psycopg://ada:***@db:5433/jobs?sslmode=require"),
        ("sqlite:////data/jobs.db", "sqlite+pysqlite:////data/jobs.db"),
    ],
)  # fmt: skip
def test_a_masked_url_hides_the_password_and_nothing_else(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://u:s3cret@h/d", "sqlite://", "sqlite:///:memory:", "sqlite:////dev/null/x/y.db"],
)
def test_a_url_of_no_use_is_bad_configuration_and_not_quoted(url: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        Database(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql://u@/d?host=/nowhere", "postgresql://u:s3cret@127.0.0.1:1/d"])
def test_a_server_that_is_not_there_is_unavailable(url: str) -> None:
    database = Database(url)
    with pytest.raises(StoreUnavailable) as refused, database.read():
        pass
    assert "s3cret" not in str(refused.value)


def test_sqlite_runs_with_the_settings_that_were_measured(sqlite: Database) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with sqlite.read() as connection:
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]
    assert values == ["wal", 2, 1, 5000]


def test_sqlites_writers_read_before_they_write_and_lose_no_update(sqlite: Database) -> None:
    # A second pool, as another process would have: it queues at SQLite's lock, not at ours.
    other = Database(sqlite.engine.url.render_as_string(), pool_size=8)
    start = threading.Barrier(8)

    def add(database: Database) -> None:
        start.wait()
        for _ in range(20):
            with database.begin() as connection:
                value = connection.scalar(text("SELECT value FROM counter"))
                connection.execute(text("UPDATE counter SET value = :value"), {"value": value + 1})

    threads = [threading.Thread(target=add, args=(database,)) for database in (sqlite, other) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with sqlite.read() as connection:
        assert connection.scalar(text("SELECT value FROM counter")) == 160
    other.close()


def test_sqlites_readers_do_not_wait_for_a_writer_and_keep_their_snapshot(sqlite: Database) -> None:
    with sqlite.read() as reader:
        assert reader.scalar(text("SELECT value FROM counter")) == 0
        with sqlite.begin() as writer:
            writer.execute(text("UPDATE counter SET value = 7"))
            assert reader.scalar(text("SELECT value FROM counter")) == 0
        assert reader.scalar(text("SELECT value FROM counter")) == 0


def test_what_fails_is_rolled_back_and_the_next_may_write(sqlite: Database) -> None:
    def fail() -> None:
        with sqlite.begin() as connection:
            connection.execute(text("UPDATE counter SET value = 1"))
            connection.execute(text("UPDATE counter SET value = 1001"))

    with pytest.raises(InternalError):
        fail()
    with sqlite.begin() as connection:
        assert connection.scalar(text("SELECT value FROM counter")) == 0


def test_a_pool_that_is_used_up_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.database._PATIENCE_S", 0.01)
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", pool_size=1)
    with database.read(), pytest.raises(StoreUnavailable), database.read():
        pass
    database.close()


def test_a_writer_that_never_ends_makes_the_others_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database._PATIENCE_S", 0.01)
    database, other = (Database(f"sqlite:///{tmp_path / 'test.db'}") for _ in range(2))
    for waiting in (database, other):
        with database.begin(), pytest.raises(StoreUnavailable), waiting.begin():
            pass
    database.close()
    other.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("not a database, and long enough to be looked at as one" * 100)
    with pytest.raises(StoreUnavailable):
        upgrade(f"sqlite:///{path}")


def test_every_connection_can_be_opened_before_it_is_needed(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}", pool_size=3)
    database.open_all()
    assert database.engine.pool.checkedin() == 3  # type: ignore[attr-defined]  # a QueuePool's
    database.close()

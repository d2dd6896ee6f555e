"""The SQL database: how to reach it, how a transaction begins, what time it is there."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from select import POLLIN, poll
from typing import Any, Literal, TypeVar, cast

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    exc,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from shared.errors import BadConfiguration, DatabaseFull, InternalError, StoreUnavailable
from shared.groups import Group, Place, Take
from shared.turns import Turns

T = TypeVar("T")
Work = Callable[[Connection], Any]

#: How long anything here waits for a lock, a connection or a free place in the pool.
_PATIENCE_S = 5
_POSTGRES_OPTIONS = {
    "statement_timeout": 10_000,  # ms
    "lock_timeout": _PATIENCE_S * 1000,  # ms
    "idle_in_transaction_session_timeout": 15_000,  # ms
}
#: libpq's own: a network that is cut says nothing, and TCP would go on trying for a quarter of an hour (sent,
#: not acknowledged) or for two (nothing sent, waiting for the answer). Times in seconds, but for the last.
_CUT_NETWORK = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # ms
}
#: Before it, two connections that checkpoint at once can corrupt the file, rarely (SQLite's WAL-reset bug).
_SQLITE_SOUND = (3, 51, 3)
#: PostgreSQL's code for it.
_DISK_FULL = "53100"
#: Works that share a transaction: on both databases, one of so many small ones still ends within 0.1 s.
_LARGEST_GROUP = 64
#: The advisory lock of `upgrade` on PostgreSQL: any number that no other program takes.
UPGRADE_LOCK = 4_913_728_011


class _Now(FunctionElement[int]):
    type = BigInteger()
    name = "now"
    inherit_cache = True


@compiles(_Now, "sqlite")
def _now_on_sqlite(*_: Any, **__: Any) -> str:
    # `unixepoch('subsec')` is newer than 3.40. julianday() carries whole milliseconds; a double rounds them.
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


@compiles(_Now, "postgresql")
def _now_on_postgres(*_: Any, **__: Any) -> str:
    # Not now(), which stands still in a transaction. The SELECT makes it one value per statement, which an
    # index can be searched for; a bare clock_timestamp() would be asked again for every row.
    return "(SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT))"


def now() -> ColumnElement[int]:
    """Return the SQL expression for milliseconds since 1970 on the database's clock."""
    return _Now()


class Database:
    """A pool of connections to SQLite (3.40.1 or newer) or PostgreSQL.

    Raises:
        BadConfiguration: the URL names neither, or SQLite's folder cannot be made.
    """

    def __init__(self, url: str, *, application: str = "iconotext", pool_size: int = 5) -> None:
        parsed = _parse(url)
        self._pool_size = pool_size
        self.dialect: Literal["sqlite", "postgresql"]
        if parsed.get_backend_name() == "sqlite":
            self.dialect = "sqlite"
            self.engine = _sqlite_engine(parsed, pool_size)
            self._turns = _sqlite_turns(parsed)
            self._folder = Path(str(parsed.database)).parent
            self._reader = self.engine.execution_options(deferred=True)
        else:
            self.dialect = "postgresql"
            self.engine = _postgres_engine(parsed, application, pool_size)
            # READ COMMITTED shows each statement the present anyway; this saves BEGIN and ROLLBACK.
            self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._turn = threading.Lock()
        self._writers: Group[Work, Any] = self.group(self._write_together)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returns, once it is committed together with the work of other threads.

        Work that arrives while a commit is under way shares the next one: one transaction, one wait for the
        disk. A failing one hurts no other.

        Args:
            work: may run twice, the first run undone; one that raises makes its neighbours run again.

        Raises:
            StoreUnavailable: as `begin` does; the outcome may be unknown.
        """
        return cast(T, self._writers.do(work))

    def group(self, serve: Callable[[Take[Any, Any]], None]) -> Group[Any, Any]:
        """Return a group of threads that is as patient as all here."""
        return Group(serve, patience_s=lambda: _PATIENCE_S, largest=_LARGEST_GROUP)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction that may write; leaving commits it, an exception rolls it back.

        Raises:
            StoreUnavailable: the database cannot be reached or is locked or full. When leaving raised it, the
                outcome is unknown: the answer to COMMIT may have been lost.
        """
        with _translated(), ExitStack() as stack:
            if self.dialect == "sqlite":
                stack.enter_context(self._writing())
            yield stack.enter_context(self.engine.begin())

    @contextmanager
    def singly(self) -> Iterator[Connection]:
        """Open a connection to PostgreSQL on which every statement is a transaction of its own.

        Raises:
            StoreUnavailable: the database cannot be reached, or is locked or full.
        """
        with self.read() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection for reading only: on SQLite one snapshot, on PostgreSQL one per statement.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        with _translated(), self._reader.connect() as connection:
            yield connection

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """Return an INSERT that understands ON CONFLICT, which both databases spell alike."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)

    def open_all(self) -> None:
        """Open every connection of the pool now, so that a busy day needs no descriptor more than the start.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        with ExitStack() as all_at_once:
            for _ in range(self._pool_size):
                all_at_once.enter_context(self.read())

    def free_bytes(self) -> int | None:
        """Return how much more fits on SQLite's disk; None: PostgreSQL's is not this machine's business.

        Raises:
            StoreUnavailable: the disk cannot be asked.
        """
        if self.dialect != "sqlite":
            return None
        try:
            return shutil.disk_usage(self._folder).free
        except OSError as error:
            raise StoreUnavailable(f"cannot look at the disk of {self._folder}: {error.strerror}") from error

    def close(self) -> None:
        self.engine.dispose()
        if self.dialect == "sqlite":
            self._turns.close()

    def _write_together(self, take: Take[Work, Any]) -> None:
        places: Sequence[Place[Work, Any]] = ()
        is_working = False
        try:
            with self.begin() as connection:
                # Only now, that all which came while another wrote are there too.
                places, is_working = take(), True
                answers = [place.item(connection) for place in places]
                is_working = False
        except Exception as error:
            # Before the works nothing can be done for any; after them it is unknown what was done.
            if not is_working:
                raise
            if len(places) == 1:
                places[0].refuse(error)
            else:
                self._write_singly(places)
        else:
            for place, answer in zip(places, answers, strict=True):
                place.settle(answer)

    def _write_singly(self, places: Sequence[Place[Work, Any]]) -> None:
        """Run each work in a transaction of its own: one of them failed, and all were undone."""
        for place in places:
            is_open = False
            try:
                with self.begin() as connection:
                    is_open = True
                    answer = place.item(connection)
            except Exception as error:
                if not is_open:
                    # None of the rest would fare better, and they have waited.
                    raise
                place.refuse(error)
            else:
                place.settle(answer)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # Threads of one process queue here, and processes at the file's turns: SQLite's own waiting is
        # polling, and starves some.
        deadline = time.monotonic() + _PATIENCE_S
        busy = StoreUnavailable(f"the database was busy writing for {_PATIENCE_S} s")
        if not self._turn.acquire(timeout=_PATIENCE_S):
            raise busy
        try:
            with self._turns.take(deadline) as came:
                if not came:
                    raise busy
                yield
        finally:
            self._turn.release()


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the tables to a migration, by default the newest; several processes may do so at once.

    Raises:
        BadConfiguration: as `Database` does.
        StoreUnavailable: the database cannot be reached.
    """
    database = Database(url, application="iconotext-upgrade", pool_size=1)
    try:
        # One transaction for all: on SQLite it begins with the only write lock there is.
        with database.begin() as connection:
            if database.dialect == "postgresql":
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        database.close()


def masked(url: str) -> str:
    """Return the URL with its password hidden, for logs.

    Raises:
        BadConfiguration: it is not a URL.
    """
    return _parse(url).render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise BadConfiguration(
            "the database URL cannot be read; write sqlite:///path or postgresql://user@host/name"
        ) from error
    backend = parsed.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    raise BadConfiguration(f"the database is {backend!r}; it must be sqlite or postgresql")


def _postgres_engine(url: URL, application: str, pool_size: int) -> Engine:
    given = url.query.get("options", "")
    # The URL's own options come last and win.
    options = " ".join([*(f"-c {key}={value}" for key, value in _POSTGRES_OPTIONS.items()), str(given)])
    engine = create_engine(
        url.difference_update_query(["options"]),
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_PATIENCE_S,
        hide_parameters=True,
        json_serializer=_to_json,
        connect_args={
            "application_name": application,
            "connect_timeout": _PATIENCE_S,
            **{name: value for name, value in _CUT_NETWORK.items() if name not in url.query},
            "options": options.strip(),
        },
    )
    dialect = engine.dialect

    def discard_broken(connection: Any, *_: object) -> None:
        # A server that closed an idle connection has said so: there is something to read. To look costs
        # nothing, where SQLAlchemy's pre-ping costs a round trip for every use.
        if not connection.closed and not _has_news(connection):
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise exc.DisconnectionError from error

    event.listen(engine, "checkout", discard_broken)
    return engine


def _has_news(connection: Any) -> bool:
    news = poll()
    news.register(connection.fileno(), POLLIN)
    return bool(news.poll(0))


def _sqlite_turns(url: URL) -> Turns:
    try:
        return Turns(Path(str(url.database)))
    except OSError as error:
        raise BadConfiguration(f"cannot write beside {url.database}: {error.strerror}") from error


def _sqlite_engine(url: URL, pool_size: int) -> Engine:
    if url.database in {None, "", ":memory:"} or "mode=memory" in str(url.database):
        raise BadConfiguration("SQLite must be a file, which threads and processes can share: sqlite:///path")
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfiguration(f"cannot make the database's folder {folder}: {error.strerror}") from error
    engine = create_engine(
        url,
        pool_size=pool_size,
        # The last used, whose cache is warm; the others stay small.
        pool_use_lifo=True,
        max_overflow=0,
        pool_timeout=_PATIENCE_S,
        hide_parameters=True,
        json_serializer=_to_json,
        connect_args={"timeout": _PATIENCE_S},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_on_sqlite)
    structlog.get_logger().info(
        "sqlite", version=sqlite3.sqlite_version, wal_reset_bug=sqlite3.sqlite_version_info < _SQLITE_SOUND
    )
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # None: the driver begins no transactions of its own, `_begin_on_sqlite` does.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def encoded(value: object) -> str:
    """Return JSON as the tables hold it.

    Raises:
        InternalError: it holds what JSON cannot, such as NaN.
    """
    try:
        return _to_json(value)
    except (TypeError, ValueError) as error:
        raise InternalError(f"a value cannot be stored: {error}") from error


def _begin_on_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails with "locked" at once when another writer came
    # between; one that takes the write lock first waits for it.
    deferred = connection.get_execution_options().get("deferred", False)
    connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")


# NaN is not JSON, and PostgreSQL would refuse it anyway.
_to_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        raise _named(error) from error
    except exc.TimeoutError as error:
        raise StoreUnavailable(f"the database is busy: {_first_line(error)}") from error
    # The drivers' own conversions raise ValueError: NaN in JSON, a lone surrogate in a text.
    except (exc.StatementError, ValueError) as error:
        raise InternalError(f"a value cannot be stored: {_first_line(error)}") from error


def _named(error: exc.DBAPIError) -> StoreUnavailable | InternalError:
    words = _first_line(error)
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    # Undefined table or column: the tables are older than this program, for as long as nobody upgrades them.
    if sqlstate in {"42P01", "42703"} or words.startswith(("no such table", "no such column")):
        return StoreUnavailable(f"the database needs `iconotext db upgrade`: {words}")
    if sqlstate == _DISK_FULL or words.startswith("database or disk is full"):
        return DatabaseFull(f"the database's disk is full: {words}")
    if isinstance(error, (exc.DataError, exc.IntegrityError, exc.ProgrammingError, exc.NotSupportedError)):
        return InternalError(f"the database refused a statement: {words}")
    return StoreUnavailable(f"the database does not answer: {words}")


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]

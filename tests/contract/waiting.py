"""Waiting for transactions of PostgreSQL to wait."""

from __future__ import annotations

import time

from sqlalchemy import text

from shared.database import Database

_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def until_waiting(database: Database, many: int) -> None:
    """Return when so many transactions wait for a lock; SQLite's wait for each other before they begin."""
    until = time.monotonic() + 4
    while database.dialect == "postgresql":
        with database.read() as connection:
            if connection.execute(_WAITING).scalar_one() >= many:
                return
        assert time.monotonic() < until

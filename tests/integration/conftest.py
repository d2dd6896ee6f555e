"""PostgreSQL alone, for what only it has."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.database import Database
from shared.store import JobStore


@pytest.fixture
def postgres(database: Database) -> Database:
    """Return PostgreSQL; parametrise `database_url` with `["postgresql"]`, indirectly."""
    assert database.dialect == "postgresql"
    return database


@pytest.fixture
def postgres_store(postgres: Database) -> JobStore:
    return JobStore(postgres, lease=timedelta(seconds=30), max_attempts=3)

"""Where migrations lead, and that several processes may set out at once."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, inspect, select

import shared.migrations
from shared.database import Database, upgrade
from shared.errors import StoreUnavailable
from shared.jobs import LOCAL, NewJob, new_job_id
from shared.store import JobStore
from shared.tables import metadata


@pytest.fixture
def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(shared.migrations.__file__).parent))
    return ScriptDirectory.from_config(config)


def test_migrations_end_at_the_metadata(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_partial_indexes_are_the_metadatas(database: Database) -> None:
    # Alembic does not compare their conditions.
    wanted = {
        index.name: str(index.dialect_options[database.dialect]["where"])
        for index in metadata.tables["jobs"].indexes
        if index.dialect_options[database.dialect]["where"] is not None
    }
    option = f"{database.dialect}_where"
    found = {
        index["name"]: str(index["dialect_options"][option])
        for index in inspect(database.engine).get_indexes("jobs")
        if option in index.get("dialect_options", {})
    }
    assert {name: _bare(where) for name, where in found.items()} == {
        name: _bare(where) for name, where in wanted.items()
    }


def _bare(where: str) -> str:
    return where.replace("(", "").replace(")", "").replace("::text", "").strip()


def test_primary_keys_are_the_metadatas(database: Database) -> None:
    # Alembic does not compare them either.
    found = {
        name: inspect(database.engine).get_pk_constraint(name)["constrained_columns"]
        for name in metadata.tables
    }
    assert found == {
        name: [column.name for column in table.primary_key] for name, table in metadata.tables.items()
    }


def test_uploads_survive_their_tables_move(empty_url: str) -> None:
    upgrade(empty_url, "0002")
    database = Database(empty_url)
    try:
        row = {"media_type": "image/png", "bytes": 3, "width": 1, "height": None, "created_at": 7}
        rows = [row | {"tenant": tenant, "id": file} for tenant, file in (("a", "2"), ("b", "1"), ("a", "1"))]
        with database.begin() as connection:
            connection.execute(insert(metadata.tables["files"]), rows)
        upgrade(empty_url)
        query = select(metadata.tables["files"]).order_by("tenant", "id")
        with database.read() as connection:
            found = [dict(one) for one in connection.execute(query).mappings()]
        assert found == [row | {"review_at": 0} for row in (rows[2], rows[0], rows[1])]
    finally:
        database.close()


def test_the_release_before_can_still_write(database: Database) -> None:
    # A rolling upgrade begins with the tables: what an older process inserts lacks the newest columns.
    added = {"jobs": ("generation", "retried_at", "input_bytes", "webhook"), "files": ("review_at",)}
    columns = {
        (table, column["name"]): column
        for table in added
        for column in inspect(database.engine).get_columns(table)
    }
    for table, names in added.items():
        for name in names:
            column = columns[table, name]
            assert column["nullable"] or column["default"] is not None, (table, name)


def test_migrations_are_one_line_of_numbers(scripts: ScriptDirectory) -> None:
    numbers = [script.revision for script in scripts.walk_revisions()][::-1]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_upgrading_again_changes_nothing_and_loses_nothing(database_url: str, database: Database) -> None:
    store = _store(database)
    (job,) = store.create([NewJob(id=new_job_id(), task="embed", input={})])
    upgrade(database_url)
    assert store.get(LOCAL, job.id) == job


def test_processes_may_upgrade_at_once(empty_url: str) -> None:
    code = "import sys; from shared.database import upgrade; upgrade(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, empty_url], stdout=subprocess.DEVNULL) for _ in range(4)
    ]
    assert [process.wait(100) for process in processes] == [0] * 4
    database = Database(empty_url)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_a_database_that_was_never_upgraded_says_so(empty_url: str) -> None:
    database = Database(empty_url)
    try:
        with pytest.raises(StoreUnavailable, match="upgrade"):
            _store(database).list(LOCAL)
    finally:
        database.close()


def _store(database: Database) -> JobStore:
    return JobStore(database, lease=timedelta(seconds=30), max_attempts=3)

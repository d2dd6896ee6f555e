"""What the tables promise without a database."""

from __future__ import annotations

import pytest
from sqlalchemy import JSON, BigInteger, Table

from shared.tables import metadata

every_table = pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)


@every_table
def test_every_moment_is_milliseconds_in_64_bits(table: Table) -> None:
    moments = [
        column
        for column in table.columns
        if column.name.endswith(("_at", "_until", "_ms")) and not isinstance(column.type, JSON)
    ]
    assert all(isinstance(column.type, BigInteger) for column in moments)


@every_table
def test_wide_columns_stand_last(table: Table) -> None:
    wide = [isinstance(column.type, JSON) for column in table.columns]
    if table.name == "jobs":
        assert wide == sorted(wide)

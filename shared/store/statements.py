"""Statements that are compiled once: to find a compiled one, SQLAlchemy would walk it at every call."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    ClauseElement,
    ColumnElement,
    Connection,
    CursorResult,
    TableValuedAlias,
    Text,
    any_,
    bindparam,
    cast,
    column,
    false,
    func,
    literal_column,
    select,
    true,
)

Values = Mapping[str, Any]


class Statement:
    """One statement with named values; thread-safe.

    Values go to the driver as they are, and rows come back as the driver gives them: JSON is text on SQLite
    (`shared.store.rows.loaded`), and must be given as text on both (`encoded`).
    """

    def __init__(self, build: Callable[[str], ClauseElement]) -> None:
        """Take a function that returns the statement for a dialect's name."""
        self._build = build
        self._texts: dict[str, _Text] = {}

    def run(self, connection: Connection, values: Values) -> CursorResult[Any]:
        """Execute it once."""
        text = self._text(connection)
        return connection.exec_driver_sql(text.sql, text.parameters(values))

    def run_all(self, connection: Connection, rows: Iterable[Values]) -> None:
        """Execute it for every row, and return nothing; no rows are no trouble."""
        text = self._text(connection)
        if parameters := [text.parameters(row) for row in rows]:
            connection.exec_driver_sql(text.sql, parameters)

    def _text(self, connection: Connection) -> _Text:
        name = connection.dialect.name
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = _Text(self._build(name), connection)
        return text


class _Text:
    """A statement in one dialect's words."""

    def __init__(self, statement: ClauseElement, connection: Connection) -> None:
        compiled = statement.compile(dialect=connection.dialect)
        self.sql = str(compiled)
        self._constants: dict[str, Any] = dict(compiled.params)
        self._order: list[str] | None = getattr(compiled, "positiontup", None)

    def parameters(self, values: Values) -> Any:
        given = {**self._constants, **values}
        # SQLite numbers its parameters, PostgreSQL's driver names them.
        return given if self._order is None else tuple(given[name] for name in self._order)


def among(column: ColumnElement[str], dialect: str) -> ColumnElement[bool]:
    """Return whether a column is one of the value `wanted`, however many those are (`listed`)."""
    if dialect == "postgresql":
        return column == any_(bindparam("wanted", type_=ARRAY(Text)))
    return column.in_(select(func.json_each(bindparam("wanted")).table_valued("value").c.value))


def listed(connection: Connection, wanted: Collection[str]) -> dict[str, Any]:
    """Return the value that `among` asks for."""
    return {"wanted": list(wanted) if connection.dialect.name == "postgresql" else json.dumps(list(wanted))}


def each(dialect: str) -> TableValuedAlias:
    """Return the values of the JSON array `wanted` as a table with the column `value`."""
    given = bindparam("wanted", type_=Text)
    if dialect == "postgresql":
        values = func.json_array_elements_text(cast(given, JSON))
    else:
        values = func.json_each(given)
    return values.table_valued(column("value", Text)).alias("wanted")


def constant(value: str | float | bool) -> ColumnElement[Any]:
    """Return a value that stands in the statement itself; no user's."""
    if isinstance(value, bool):
        return true() if value else false()
    return literal_column(f"'{value}'" if isinstance(value, str) else str(value))

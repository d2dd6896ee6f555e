"""The heartbeat: one statement that renews many leases and stores as many jobs' progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ClauseElement,
    ColumnElement,
    Float,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    or_,
    select,
    update,
)

from shared.database import now
from shared.jobs import JobId, Progress
from shared.store.rows import storable
from shared.store.statements import Statement
from shared.tables import jobs

_TOLD = {"id": Text, "attempt": Integer, "fraction": Float, "stage": Text, "message": Text, "preview": Text}


def told(held: Mapping[JobId, int], progress: Mapping[JobId, Progress]) -> str:
    """Return the value `told` of `BEAT`: what a worker tells of its jobs, as JSON."""
    return json.dumps([_line(job_id, attempt, progress.get(job_id)) for job_id, attempt in held.items()])


def _line(job_id: JobId, attempt: int, progress: Progress | None) -> list[Any]:
    # Without progress NULL, and NULL is not further than anything.
    if progress is None:
        return [job_id, attempt, None, None, None, None]
    words = storable(progress.stage), storable(progress.message)
    return [job_id, attempt, progress.fraction, *words, progress.preview or None]


def _beat(dialect: str) -> ClauseElement:
    told = _lines(dialect).subquery("told")
    further = and_(
        told.c.fraction >= jobs.c.fraction,
        or_(
            told.c.fraction > jobs.c.fraction,
            told.c.stage != jobs.c.stage,
            told.c.message != jobs.c.message,
        ),
    )

    def kept(name: str) -> ColumnElement[object]:
        return case((further, told.c[name]), else_=jobs.c[name])

    return (
        update(jobs)
        .where(
            jobs.c.id == told.c.id,
            jobs.c.attempt == told.c.attempt,
            jobs.c.worker == bindparam("holder"),
        )
        .values(
            lease_until=now() + cast(bindparam("lease_ms"), BigInteger),
            fraction=kept("fraction"),
            stage=kept("stage"),
            message=kept("message"),
            preview=kept("preview"),
            version=case((further, jobs.c.version + 1), else_=jobs.c.version),
        )
        .returning(jobs.c.id, jobs.c.state)
    )


def _lines(dialect: str) -> Select[Any]:
    """Return the query that takes the JSON apart: VALUES would be another text for every number of jobs."""
    given = bindparam("told", type_=Text)
    if dialect == "postgresql":
        lines = (
            func.json_array_elements(cast(given, JSON)).table_valued(column("value", JSON)).render_derived()
        )
        parts: list[ColumnElement[Any]] = [
            lines.c.value.op("->>")(literal_column(str(place))) for place in range(len(_TOLD))
        ]
    else:
        lines = func.json_each(given).table_valued("value")
        parts = [func.json_extract(lines.c.value, f"$[{place}]") for place in range(len(_TOLD))]
    columns: list[ColumnElement[Any]] = [
        cast(part, kind).label(name) for part, (name, kind) in zip(parts, _TOLD.items(), strict=True)
    ]
    return select(*columns)


#: Its rows are (id, state) of each job that `holder` still holds.
BEAT = Statement(_beat)

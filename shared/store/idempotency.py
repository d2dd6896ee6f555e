"""Submits that may come again: the first one with a key creates its job, the others get it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    ClauseElement,
    ColumnElement,
    Connection,
    Text,
    bindparam,
    column,
    delete,
    func,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy import cast as as_type
from sqlalchemy.dialects import postgresql, sqlite

from shared.database import now
from shared.errors import KeyReused, StoreUnavailable
from shared.jobs import JobId, NewJob
from shared.store.statements import Statement
from shared.tables import idempotency_keys as keys
from shared.tables import jobs

#: A key answers its job for so long.
KEPT_MS = 24 * 3600 * 1000  # a day
#: Looks at a key that others take and forget meanwhile.
_TRIES = 3


class _Booking(NamedTuple):
    """A key, and the new job that it is to answer."""

    tenant: str
    key: str
    fingerprint: str
    job_id: JobId

    @property
    def place(self) -> tuple[str, str]:
        return self.tenant, self.key


def take_keys(connection: Connection, new: Sequence[NewJob]) -> dict[JobId, JobId]:
    """Book the keys of new jobs; return the job that exists already for each that was submitted before.

    Whoever comes with a key that another transaction has just booked waits for that one's end.

    Raises:
        KeyReused: a key belongs to a submit that said something else.
    """
    known: dict[JobId, JobId] = {}
    taken: dict[tuple[str, str], _Booking] = {}
    for booking in _bookings(new):
        first = taken.setdefault(booking.place, booking)
        if first is not booking:
            known[booking.job_id] = _same(booking, first.job_id, first.fingerprint)
    if taken:
        # In one order everywhere, or two submits could each hold the key that the other waits for.
        wanted = sorted(taken.values())
        booked = _book(connection, wanted)
        for booking in wanted:
            if booking.place not in booked:
                known[booking.job_id] = _holder(connection, booking)
    # What is the same as one of these is the same as what that one is the same as.
    found = {job_id: known.get(earlier, earlier) for job_id, earlier in known.items()}
    return {job_id: earlier for job_id, earlier in found.items() if earlier != job_id}


def known_as(connection: Connection, job: NewJob) -> JobId:
    """Return the id under which a new job is stored if it is: its own, or that of the same submit before."""
    for booking in _bookings([job]):
        row: Sequence[Any] | None = _LOOK.run(connection, booking._asdict()).one_or_none()
        if row is not None and row[1] == booking.fingerprint and row[2]:
            return JobId(row[0])
    return job.id


def _bookings(new: Sequence[NewJob]) -> Iterator[_Booking]:
    for job in new:
        if job.idempotency is not None:
            yield _Booking(job.tenant, job.idempotency.key, job.idempotency.fingerprint, job.id)


def _book(connection: Connection, bookings: Sequence[_Booking]) -> set[tuple[str, str]]:
    """Insert the keys that nobody has, and return their places."""
    booked: Sequence[Sequence[str]] = _BOOK.run(connection, {"lines": json.dumps(bookings)}).all()
    return {(row[0], row[1]) for row in booked}


def _holder(connection: Connection, booking: _Booking) -> JobId:
    """Return the job that a booked key answers: the new one, where the old one or the key's time is gone."""
    for _ in range(_TRIES):
        row: Sequence[Any] | None = _HOLD.run(connection, booking._asdict()).one_or_none()
        if row is None:
            # It was forgotten since.
            if _book(connection, [booking]):
                return booking.job_id
            continue
        # Asked only now: a statement sees what was committed before it began.
        if row[2] and _KEEP.run(connection, {"wanted": row[0]}).first() is not None:
            return _same(booking, JobId(row[0]), row[1])
        _TAKE_OVER.run(connection, booking._asdict())
        return booking.job_id
    raise StoreUnavailable("an idempotency key changed hands too often; try again")


def _same(booking: _Booking, earlier: JobId, fingerprint: str) -> JobId:
    if fingerprint != booking.fingerprint:
        raise KeyReused(
            "this Idempotency-Key came with another submit before; send a new key with a new submit",
            pointer="/Idempotency-Key",
        )
    return earlier


def _insert(dialect: str) -> ClauseElement:
    given = bindparam("lines", type_=Text)
    if dialect == "postgresql":
        lines = func.json_array_elements(as_type(given, JSON)).table_valued(column("value", JSON))
        line = lines.render_derived()
        parts: list[ColumnElement[Any]] = [line.c.value.op("->>")(literal_column(str(at))) for at in range(4)]
    else:
        line = func.json_each(given).table_valued("value")
        parts = [func.json_extract(line.c.value, f"$[{at}]") for at in range(4)]
    # SQLite would take ON CONFLICT for the ON of a join without a WHERE.
    found = select(*(as_type(part, Text) for part in parts), now()).select_from(line).where(true())
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    names = ["tenant", "key", "fingerprint", "job_id", "created_at"]
    booked = insert(keys).from_select(names, found).on_conflict_do_nothing()
    return booked.returning(keys.c.tenant, keys.c.key)


_THIS = (keys.c.tenant == bindparam("tenant"), keys.c.key == bindparam("key"))
_ROW = select(keys.c.job_id, keys.c.fingerprint, keys.c.created_at > now() - KEPT_MS).where(*_THIS)

#: For a JSON array `lines` of [tenant, key, fingerprint, job]: its rows are each (tenant, key) that was free.
_BOOK = Statement(_insert)
_LOOK = Statement(lambda _: _ROW)
# Held, so that of two that find its job gone only one takes it over.
_HOLD = Statement(lambda _: _ROW.with_for_update())
# Against a purge, which would delete the job that is about to be answered.
_KEEP = Statement(
    lambda _: (
        select(jobs.c.id).where(jobs.c.id == bindparam("wanted")).with_for_update(read=True, key_share=True)
    )
)
_TAKE_OVER = Statement(
    lambda _: (
        update(keys)
        .where(*_THIS)
        .values(fingerprint=bindparam("fingerprint"), job_id=bindparam("job_id"), created_at=now())
    )
)
FORGET = Statement(lambda _: delete(keys).where(*_THIS))

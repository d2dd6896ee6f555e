"""Whether a million jobs make the next one slower: the store's operations with 1,000 rows and with 1,000,000.

On SQLite and on PostgreSQL, through the store that the API and the workers use, with its durability. The two
sizes take turns, operation by operation.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from benchmarks import rows as past
from benchmarks.report import Report, quantile, read_effort
from benchmarks.servers import postgres
from shared.database import Database
from shared.jobs import DEFAULT_POOL, JobState, NewFile, NewJob, Success, WorkerId, new_job_id
from shared.store import JobStore

_FEW, _MANY = 1_000, 1_000_000
#: Of each operation, on each size, in one round.
_OPERATIONS = 150
#: Before the first round. PostgreSQL writes a page whole when it changes for the first time after a
#: checkpoint, with which the filling ends; a large table has more pages that are still to be touched.
_WARM = 400
#: The largest tenants, who fill a page of 50 even among 1,000 rows.
_LISTERS = 4
_BAR = 1.15
_BARRED = ("submit", "claim", "poll", "list")


#: Milliseconds, by operation and size.
Samples = defaultdict[tuple[str, int], list[float]]


class Table:
    """One database of one size, and the operations on it."""

    def __init__(self, url: str, rows: int) -> None:
        began = time.monotonic()
        self.history = past.fill(url, rows)
        self.filled_s = time.monotonic() - began
        self._database = Database(url)
        self._store = JobStore(self._database, lease=timedelta(seconds=30), max_attempts=3)
        self._random = random.Random(rows)  # noqa: S311  # picks rows, guards nothing
        self._worker = WorkerId("growth:1:0")

    def operations_ms(self) -> Iterator[tuple[str, float]]:
        """Do each operation once and yield how long it took, in milliseconds."""
        new, file = self._new_job()
        yield "submit", _timed(lambda: self._store.create([new], files=[file]))
        claims = []
        yield "claim", _timed(lambda: claims.extend(self._store.claim(self._worker, [DEFAULT_POOL])))
        success = Success(
            result=past.result(),
            provenance=past.provenance(),
            timings_ms={"decode": 2.0, "model": 6.0},
        )
        yield "settle", _timed(lambda: self._store.succeed(claims[0], success))
        tenant, job = self._random.choice(self.history.sample)
        yield "poll", _timed(lambda: self._store.get(tenant, job, with_position=True))
        lister = self._random.choice(self.history.tenants[:_LISTERS])
        states = self._random.choice([(), (JobState.SUCCEEDED,)])
        yield "list", _timed(lambda: self._store.list(lister, states=states))

    def close(self) -> None:
        self._database.close()

    def _new_job(self) -> tuple[NewJob, NewFile]:
        file, tenant = past.new_file(), self._random.choice(self.history.tenants)
        job = NewJob(
            id=new_job_id(), tenant=tenant, task="embed", input={"images": [{"file": file}], "space": "image"}
        )
        return job, NewFile(
            id=file, tenant=tenant, media_type="image/jpeg", bytes=70_000, width=640, height=480
        )


#: By size, the small one first.
Tables = dict[int, Table]


def _timed(operation: Callable[[], object]) -> float:
    began = time.perf_counter()
    operation()
    return (time.perf_counter() - began) * 1000


def main() -> int:
    effort = read_effort(__doc__, rounds=3)
    many = effort.of(_MANY, least=_FEW)
    report = Report(name="growth", rounds=effort.rounds, trial=effort.is_trial)
    with ExitStack() as everything:
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="iconotext-growth-")))
        server = everything.enter_context(postgres())
        urls: dict[str, Callable[[int], str]] = {
            "SQLite": lambda size: f"sqlite:///{folder / f'{size}.db'}",
            "PostgreSQL": lambda size: server.new_database(f"rows_{size}"),
        }
        for database, url in urls.items():
            tables = {size: Table(url(size), size) for size in (_FEW, many)}
            _turns(tables, effort.of(_WARM, least=30))
            _measure(report, database, tables, effort.rounds, effort.of(_OPERATIONS, least=20))
            report.note(f"{database}: {many:,} rows were filled in {tables[many].filled_s:.0f} s")
            for table in tables.values():
                table.close()
    report.note(
        "rows: 98.5 % ended, 1 % queued, 0.5 % running, 20 tenants, half of them with a picture; submit "
        "stores a picture's row, its job and their link; polls ask for a job anywhere in the table, lists "
        "for the newest 50 of one of the largest tenants; ANALYZE after filling, and "
        f"{_WARM} of each operation before the first round"
    )
    return report.finish()


def _measure(report: Report, database: str, tables: Tables, rounds: int, count: int) -> None:
    medians: Samples = defaultdict(list)
    for _ in range(rounds):
        for key, samples in _turns(tables, count).items():
            medians[key].append(quantile(samples, 0.5))
    few, many = tables
    for operation in (*_BARRED, "settle"):
        for size in tables:
            report.add(f"{database}, {operation}, {size:,} rows, p50", medians[operation, size], "ms")
    for operation in (*_BARRED, "settle"):
        name = f"{database}, {operation}, {many:,} rows over {few:,}"
        ratio = report.ratio(name, medians[operation, many], medians[operation, few])
        if operation in _BARRED:
            report.bar(name, ratio.median, _BAR, at_least=False)


def _turns(tables: Tables, count: int) -> Samples:
    """Do every operation on every size so often, and return how long each took."""
    taken: Samples = defaultdict(list)
    for turn in range(count):
        order = list(tables.items())
        for size, table in order if turn % 2 else reversed(order):
            for operation, spent_ms in table.operations_ms():
                taken[operation, size].append(spent_ms)
    return taken


if __name__ == "__main__":
    sys.exit(main())

"""The invariants, looked at once the faults are over: every promise of the service, against what was seen."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from shared.database import Database
from shared.jobs import JobState, Json
from shared.tables import files, job_files, jobs
from tests.chaos.audit import Entry, by_job, faults_in, read
from tests.chaos.load import Findings, Order
from tests.chaos.pieces import Piece
from tests.chaos.stage import Death
from tests.chaos.world import World

#: How long jobs may take to end once nothing is broken any more: what had piled up must be worked off too.
ENDED_WITHIN_S = 120.0
#: Deliveries that a fault held up are tried again after 5 s, and then 5 minutes later.
_TOLD_WITHIN_S = 400.0
#: The grace of blobs, one pass over the store, and some.
_SWEPT_WITHIN_S = 120.0
_MOST_DESCRIPTORS = 300
_MOST_BYTES = 2**30
_LOOK_S = 0.2
_ATTEMPTS = 3
_SLOWEST = 20
_FILE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A job as the database holds it at the end."""

    id: str
    state: JobState
    generation: int
    attempt: int
    result: Json | None
    artifacts: Sequence[Json]
    error_code: str | None
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """A job whose worker was killed."""

    #: Until it ran again, or had ended.
    seconds: float
    job_id: str
    death: Death


@dataclass
class Verdict:
    """What was found."""

    stories: Mapping[str, list[Entry]]
    rows: Mapping[str, Row]
    by_state: Counter[str] = field(default_factory=Counter)


def wait_for_the_end(database: Database, seconds: float = ENDED_WITHIN_S) -> float | None:
    """Return how long it took until no job was under way or waiting; None: it never came."""
    began = time.monotonic()
    query = select(jobs.c.id).where(jobs.c.finished_at.is_(None)).limit(1)
    return _until(lambda: _none(database, query), seconds, began)


def wait_for_deliveries(database: Database) -> float | None:
    """Return how long it took until nothing was left to be told; None: it never came."""
    query = text("SELECT id FROM deliveries WHERE next_at IS NOT NULL LIMIT 1")
    return _until(lambda: _none(database, query), _TOLD_WITHIN_S, time.monotonic())


def examine(database: Database, orders: Iterable[Order], findings: Findings) -> Verdict:
    """Compare everything that was promised with everything that is."""
    entries = read(database)
    stories = by_job(entries)
    rows = _rows(database)
    verdict = Verdict(stories=stories, rows=rows)
    for job_id, story in stories.items():
        for words in faults_in(story):
            findings.fault("I1 doubled" if "ended" in words else "I4 regressions", f"{job_id}: {words}")
    known = {order.number: order for order in orders}
    for order in known.values():
        _check_order(order, rows, findings)
    for row in rows.values():
        _check_row(row, known, stories[row.id], findings)
        verdict.by_state[row.state.value] += 1
    return verdict


def check_webhooks(world: World, orders: Iterable[Order], verdict: Verdict, findings: Findings) -> None:
    """Every end that somebody wanted to be told of was told, and always in the same words (I6)."""
    for order in orders:
        if not order.is_told or order.job_id is None:
            continue
        for entry in verdict.stories[order.job_id]:
            if entry.is_end:
                told = world.sink.told.get((order.job_id, entry.generation), set())
                if told != {f"job.{entry.state}"}:
                    findings.fault("I6 webhooks", f"{order.job_id}: {entry.state}, and told {sorted(told)}")
    for message, bodies in world.sink.bodies.items():
        if len(bodies) > 1:
            findings.fault("I6 webhooks", f"{message} came with {len(bodies)} bodies")


def check_blobs(world: World, database: Database, findings: Findings) -> None:
    """Every blob that is named is there, and in a while none is that nobody names (I8)."""
    began = time.monotonic()
    _until(lambda: not _orphans(world.blobs, database), _SWEPT_WITHIN_S, began)
    for file in _orphans(world.blobs, database):
        findings.fault("I8 orphans", f"blob {file} is named by nobody")
    for file in _named(database) - _stored(world.blobs):
        findings.fault("I1 lost", f"blob {file} is named and gone")


def check_processes(world: World, findings: Findings) -> None:
    """Nobody holds a lease, too many descriptors or too much memory (I8)."""
    for program in (world.api, *world.workers):
        for process in program.everybody():
            if (count := process.num_fds()) > _MOST_DESCRIPTORS:
                findings.fault("I8 descriptors", f"{program.name} holds {count}")
            if (size := process.memory_info().rss) > _MOST_BYTES:
                findings.fault("I8 memory", f"{program.name} holds {size / 2**20:.0f} MiB")


def check_logs(logs: Path, secrets: Iterable[str], findings: Findings) -> None:
    """No secret is in a log (I10)."""
    for path in sorted(logs.iterdir()):
        words = path.read_text(errors="replace")
        for secret in secrets:
            if secret in words:
                findings.fault("I10 secrets", f"{path.name} holds one")


def lines_with(logs: Path, words: str) -> int:
    """Return how many lines of the workers' logs hold these words."""
    return sum(path.read_text(errors="replace").count(words) for path in logs.glob("worker-*.log"))


def recoveries(stories: Mapping[str, list[Entry]], deaths: Iterable[Death]) -> list[Recovery]:
    """Return what became of each job that a killed worker held."""
    held: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for job_id, story in stories.items():
        for place, entry in enumerate(story):
            if entry.event == "claim" and entry.pid is not None:
                held[entry.pid].append((job_id, place))
    found = []
    for death in deaths:
        for job_id, place in held[death.pid]:
            later = stories[job_id][place + 1 :]
            at = death.at * 1000
            if stories[job_id][place].at > at or (later and later[0].at <= at):
                continue
            # It was held at that moment. To be freed is not yet to run.
            again = next((one.at for one in later if one.event == "claim" or one.is_end), None)
            if again is not None:
                found.append(Recovery(seconds=(again - at) / 1000, job_id=job_id, death=death))
    return found


def longest_gap(stories: Mapping[str, list[Entry]], since: float, until: float) -> tuple[float, float]:
    """Return when the longest time without any job's end began and ended, between two moments."""
    ends = sorted(entry.at / 1000 for story in stories.values() for entry in story if entry.is_end)
    inside = [since, *(one for one in ends if since <= one <= until), until]
    return max(itertools.pairwise(inside), key=lambda pair: pair[1] - pair[0])


def reruns(stories: Mapping[str, list[Entry]]) -> int:
    """Return how many claims there were beyond the first of each generation."""
    claims = [sum(entry.event == "claim" for entry in story) for story in stories.values()]
    generations = [
        len({entry.generation for entry in story if entry.event == "claim"}) for story in stories.values()
    ]
    return sum(claims) - sum(generations)


def _check_order(order: Order, rows: Mapping[str, Row], findings: Findings) -> None:
    if order.job_id is None:
        findings.fault("I1 lost", f"order {order.number} was never accepted")
        return
    row = rows.get(order.job_id)
    if row is None:
        findings.fault("I1 lost", f"{order.job_id} was acknowledged and is not there")
    elif not row.state.is_terminal:
        findings.fault("I3 stuck", f"{order.job_id} is {row.state}")


def _check_row(row: Row, orders: Mapping[int, Order], story: list[Entry], findings: Findings) -> None:
    """A job ended as its input says it must, with the result that its input has (I2, I5)."""
    order = orders[int(row.label)]
    if order.job_id != row.id:
        findings.fault("I9 keys", f"order {order.number} became {row.id} beside {order.job_id}")
    piece = order.piece
    claims = [entry for entry in story if entry.event == "claim"]
    words = ""
    if row.state is JobState.SUCCEEDED:
        words = _wrong_success(row, piece, claims)
    elif row.result is not None:
        words = f"it is {row.state} and has a result"
    elif row.error_code == "attempts_exhausted":
        ours = [entry for entry in claims if entry.generation == row.generation]
        if len(ours) < _ATTEMPTS:
            findings.fault("I1 lost", f"{row.id} is out of attempts after {len(ours)} claims")
    elif not _may_end(row, piece):
        words = f"it ended {row.state} {row.error_code or ''}"
    if words:
        findings.fault("I5 results", f"{row.id}: {words}")


def _wrong_success(row: Row, piece: Piece, claims: Sequence[Entry]) -> str:
    expected, artifacts = piece.expected
    if piece.fails:
        return f"it succeeded, and must fail with {sorted(piece.fails)}"
    if row.result != expected:
        return f"{row.result} instead of {expected}"
    if {one["name"]: one["file"] for one in row.artifacts} != artifacts:
        return "other artifacts than computed here"
    if not claims or row.attempt != claims[-1].attempt:
        return f"settled by attempt {row.attempt}, which was not the last"
    return ""


def _may_end(row: Row, piece: Piece) -> bool:
    """Return whether a job without a result ended as its input allows."""
    match row.state:
        case JobState.FAILED:
            return row.error_code in piece.fails
        case JobState.CANCELED:
            return piece.canceled_after_s is not None
        case JobState.EXPIRED:
            return piece.may_expire
    return True


def _rows(database: Database) -> dict[str, Row]:
    query = select(
        jobs.c.id, jobs.c.state, jobs.c.generation, jobs.c.attempt, jobs.c.result, jobs.c.artifacts,
        jobs.c.error_code, jobs.c.labels,
    )  # fmt: skip
    with database.read() as connection:
        return {
            row.id: Row(
                id=row.id,
                state=JobState(row.state),
                generation=row.generation,
                attempt=row.attempt,
                result=row.result,
                artifacts=row.artifacts,
                error_code=row.error_code,
                label=row.labels["order"],
            )
            for row in connection.execute(query)
        }


def _named(database: Database) -> set[str]:
    with database.read() as connection:
        named = set(connection.scalars(select(job_files.c.file))) | set(
            connection.scalars(select(files.c.id))
        )
    return {str(one) for one in named}


def _stored(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if _FILE.fullmatch(path.name)}


def _orphans(folder: Path, database: Database) -> set[str]:
    # What is stored first: a blob that is named a moment later is none.
    stored = _stored(folder)
    return stored - _named(database)


def _none(database: Database, query: Any) -> bool:
    with database.read() as connection:
        return connection.execute(query).first() is None


def _until(condition: Callable[[], bool], seconds: float, began: float) -> float | None:
    while not condition():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(_LOOK_S)
    return time.monotonic() - began


def dump(path: Path, verdict: Verdict, findings: Findings, waits: Iterable[Recovery]) -> None:
    """Write down the stories of the jobs that broke a promise or waited longest, for whoever mends it."""
    named = {word for faults in findings.faults.values() for words in faults for word in _ids(words)}
    slowest = sorted(waits, key=lambda one: -one.seconds)[:_SLOWEST]
    written = {
        "faults": findings.faults,
        "slowest": [asdict(one) for one in slowest],
        "stories": {
            job_id: [repr(one) for one in verdict.stories.get(job_id, [])]
            for job_id in sorted(named | {one.job_id for one in slowest})
        },
    }
    path.write_text(json.dumps(written, indent=1))


def _ids(words: str) -> list[str]:
    return re.findall(r"job_[0-9a-f]{32}", words)

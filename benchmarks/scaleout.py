"""What more worker processes bring, on a stand-in device that is busy 50 ms with every item.

The device only waits, so eight of them fit on two cores; what is measured is whether the queue, the claims
and the settlements keep eight workers at work. One stack has one worker, the other eight; they take turns.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

from benchmarks import inputs
from benchmarks.jobs import Ledger, Work, in_flight, prepared_batch
from benchmarks.report import Report, in_turn, quantile, read_effort
from benchmarks.stack import Stack, running
from benchmarks.wire import Wire
from shared.database import Database
from shared.jobs import JobId, JobState, NewJob, TenantId, new_job_id
from shared.store import JobStore

_WORKERS = 8
_ITEM_S = 0.05
#: So many seconds of work for each worker in one round.
_SECONDS = 20
#: In one `POST /v1/jobs:batch`; each waits for its end in one request.
_BATCH = 400
_SPEEDUP = 7.2
#: A worker does at least this part of the mean.
_FAIR = 0.5
_BIG, _SMALL = (TenantId("big"), 10_000), (TenantId("small"), 10)
_PATIENCE_S = 60.0
_SETTINGS = {
    # The device takes one after the other; what a worker holds beyond that, another could have had.
    "ICONOTEXT_SLOTS": "4",
    "ICONOTEXT_HEARTBEAT": "1",
    "ICONOTEXT_API_THREADS": "32",
}


@dataclass(frozen=True, slots=True)
class Round:
    """What one stack did with the jobs of one round."""

    #: With as many seconds of work for each worker.
    per_second: float
    #: Items that each worker did meanwhile.
    shares: list[int]
    #: With the same jobs on either stack.
    p99_queue_ms: float


def main() -> int:
    effort = read_effort(__doc__, rounds=3)
    done: defaultdict[int, list[Round]] = defaultdict(list)
    jobs = effort.of(round(_SECONDS / _ITEM_S), least=20)
    with ExitStack() as everything:
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="iconotext-scaleout-")))
        profile = folder / "slow.toml"
        profile.write_text(_manifest())
        stacks = {
            workers: everything.enter_context(
                running(profile=str(profile), workers=workers, settings=_SETTINGS)
            )
            for workers in (1, _WORKERS)
        }
        for _, workers in in_turn(list(stacks), effort.rounds):
            [other] = [stack for count, stack in stacks.items() if count != workers]
            with other.paused():
                done[workers].append(_round(stacks[workers], workers, jobs))
        stacks[1].pause()
        waiting, big_done, seconds = _two_tenants(stacks[_WORKERS])
    report = Report(name="scaleout", rounds=effort.rounds, trial=effort.is_trial)
    _compare(report, done)
    report.add("tenant with 10 jobs, all done after", [seconds], "s")
    report.add("tenant with 10,000 jobs, done by then", [big_done], "jobs")
    report.add("tenant with 10,000 jobs, still waiting then", [waiting], "jobs")
    report.bar("both tenants are served: done of 10,000 when the 10 are done", big_done, 1)
    report.bar("the 10 do not wait for the 10,000: of these still waiting", waiting, 9_000)
    report.note(
        f"one text a job, in batches over HTTP, from the first submit to the last result read: {jobs:,} jobs "
        f"for each worker; queue times are those of {jobs:,} jobs at once on either stack; a worker holds "
        f"{_SETTINGS['ICONOTEXT_SLOTS']} jobs at once; the two tenants' jobs are put in through the store"
    )
    return report.finish()


def _manifest() -> str:
    models = {
        "TextEncoder": "",
        "ImageEncoder": "",
        "JointEncoder": 'over = ["TextEncoder", "ImageEncoder"]\n',
    }
    entries = [
        f'[models.{capability}]\nbackend = "fake"\nid = "iconotext/slow-{capability}"\n'
        f'architecture = "colours and words"\nlicence = "Apache-2.0"\ngrade = "test"\n{over}'
        f"[models.{capability}.options]\nseconds_per_item = {_ITEM_S}\n"
        for capability, over in models.items()
    ]
    return "\n".join(
        ['summary = "Stand-ins on a device that is busy with every item for a while."', *entries]
    )


def _round(stack: Stack, workers: int, jobs: int) -> Round:
    """Give a stack so many jobs for each worker, and then, if it has several, so many in all."""
    before = _items(stack, workers, at_least=0)
    seconds, ledger = _run(stack, jobs * workers)
    after = _items(stack, workers, at_least=sum(before.values()) + ledger.items)
    same = ledger if workers == 1 else _run(stack, jobs)[1]
    return Round(
        per_second=ledger.items / seconds,
        shares=[after[worker] - before[worker] for worker in after],
        p99_queue_ms=quantile([job["queue"] for job in same.timings_ms], 0.99),
    )


def _run(stack: Stack, jobs: int) -> tuple[float, Ledger]:
    """Return the seconds from the first submit to the last result read, and what came back."""
    wire, ledger = Wire(stack.url), Ledger()
    works = (Work(texts=[text]) for text in islice(inputs.captions(), jobs))
    groups = iter(lambda: list(islice(works, _BATCH)), [])
    requests = [prepared_batch(wire, group) for group in groups]
    return in_flight(wire, requests, len(requests), ledger, batches=True), ledger


def _items(stack: Stack, workers: int, *, at_least: int) -> Counter[str]:
    """Return how many items each worker says it has done, once all of them have said so."""
    deadline = time.monotonic() + _PATIENCE_S
    with _store(stack) as store:
        while True:
            said = store.workers(seen_within=timedelta(seconds=15))
            items = Counter({str(worker): int(info["engine"]["items"]) for worker, info in said})
            if len(items) >= workers and sum(items.values()) >= at_least:
                return items
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(items)} workers say they did {sum(items.values())} items")
            time.sleep(0.2)


def _two_tenants(stack: Stack) -> tuple[float, float, float]:
    """Let one tenant put in 10,000 jobs and then another ten; return how many still wait, and are done, of
    the first one's when the second one's are done, and after how many seconds that is."""
    (big, many), (small, few) = _BIG, _SMALL
    with _store(stack) as store:
        for _ in range(many // 1_000):
            store.create(list(_new(big, 1_000)))
        began = time.monotonic()
        ids = [job.id for job in store.create(list(_new(small, few)))]
        while not _all_done(store, ids):
            if time.monotonic() - began > _PATIENCE_S:
                break
            time.sleep(0.1)
        seconds = time.monotonic() - began
        ended = sum(1 for _ in _listed(store, big))
    return float(many - ended), float(ended), seconds


def _all_done(store: JobStore, ids: list[JobId]) -> bool:
    return all(state is JobState.SUCCEEDED for _, state in store.versions(ids).values())


def _listed(store: JobStore, tenant: TenantId) -> Iterator[JobId]:
    """Yield the tenant's succeeded jobs."""
    token: str | None = None
    while True:
        jobs, token = store.list(tenant, states=[JobState.SUCCEEDED], page_size=200, after=token)
        yield from (job.id for job in jobs)
        if token is None:
            return


def _new(tenant: TenantId, count: int) -> Iterable[NewJob]:
    for text in islice(inputs.captions(), count):
        yield NewJob(id=new_job_id(), tenant=tenant, task="embed", input={"texts": [text], "space": "joint"})


@contextmanager
def _store(stack: Stack) -> Iterator[JobStore]:
    with closing(Database(stack.database_url)) as database:
        yield JobStore(database, lease=timedelta(seconds=30), max_attempts=3)


def _compare(report: Report, done: dict[int, list[Round]]) -> None:
    one, many = done[1], done[_WORKERS]
    for workers, rounds in done.items():
        report.add(f"workers: {workers}", [one_round.per_second for one_round in rounds], "items/s")
    for workers, rounds in done.items():
        report.add(
            f"p99 queue time, workers: {workers}", [one_round.p99_queue_ms for one_round in rounds], "ms"
        )
    speedup = report.ratio(
        f"{_WORKERS} workers over 1", [r.per_second for r in many], [r.per_second for r in one]
    )
    shorter = report.ratio(
        "p99 queue time of the same jobs, 1 worker over 8",
        [r.p99_queue_ms for r in one],
        [r.p99_queue_ms for r in many],
    )
    least = report.add(
        "items of the least busy worker over the mean",
        [min(r.shares) / (sum(r.shares) / len(r.shares)) for r in many],
        "x",
    )
    report.bar(f"{_WORKERS} workers over 1", speedup.median, _SPEEDUP)
    report.bar("p99 queue time falls as the work grows", shorter.median, _SPEEDUP * 0.9)
    report.bar("no worker starves: least of all rounds over the mean", min(least.samples), _FAIR)


if __name__ == "__main__":
    sys.exit(main())

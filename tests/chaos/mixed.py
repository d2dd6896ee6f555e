"""Everything at once: a steady load, and faults of every kind drawn from one seed."""

from __future__ import annotations

import itertools
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.report import OUT, Report, quantile
from shared.database import Database
from tests.chaos import checks
from tests.chaos.faults import Faults, schedule
from tests.chaos.load import Findings, Users
from tests.chaos.servers import Sqlite
from tests.chaos.stage import Death, Stage
from tests.chaos.world import LEASE_S, World, world

#: What a secret looks like in a webhook's URL; it may be in no log.
CANARY = "token=canary-5f1d0c"
WORKERS = 3
#: Rare: a run kills on schedule, these hit the moments that no schedule meets.
_FAILPOINTS = {
    "before_claim": 0.0002,
    "after_claim": 0.001,
    "mid_model": 0.001,
    "after_compute": 0.001,
    "after_commit": 0.001,
}
_API_FAILPOINTS = {"api_after_blobs": 0.0005, "api_after_commit": 0.002}
_INVARIANTS = (
    "I1 lost", "I1 doubled", "I3 stuck", "I4 regressions", "I5 results", "I6 webhooks", "I7 errors",
    "I7 hang", "I8 orphans", "I8 descriptors", "I8 memory", "I9 keys", "I10 secrets",
)  # fmt: skip


#: What had piled up is worked off within this time.
_ALL_ENDED_S = 60.0
_EXAMPLES = 30
_LOOK_S = 0.5
_OF_REDIS = ("redis kill", "redis flush", "redis freeze", "redis full")
#: What a published run must have gone through.
_ENOUGH: Mapping[str, Mapping[str, int]] = {
    "postgresql": {
        "jobs": 10_000,
        "worker kills": 300,
        "api kills": 50,
        "redis faults": 40,
        "database restarts": 20,
        "cut connections": 20,
    },
    "sqlite": {
        "jobs": 3_000,
        "worker kills": 300,
        "api kills": 50,
        "redis faults": 40,
        "cut connections": 20,
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """How much of everything."""

    name: str
    jobs: int
    seconds: float
    #: By name, as `tests.chaos.faults` knows them.
    faults: Mapping[str, int]


def short(minutes: float) -> Profile:
    """Return a run of about so many minutes, with as many faults a minute as the large one has."""
    large = hell("postgresql")
    share = minutes * 60 / large.seconds
    return Profile(
        name=f"{minutes:g} minutes",
        jobs=round(large.jobs * share),
        seconds=large.seconds * share,
        faults={name: max(1, round(count * share)) for name, count in large.faults.items()},
    )


def hell(kind: str) -> Profile:
    """Return the run whose figures are published."""
    if kind == "sqlite":
        return Profile(name="hell", jobs=3_050, seconds=780.0, faults=_ANYWHERE)
    return Profile(name="hell", jobs=10_400, seconds=900.0, faults={**_ANYWHERE, **_OF_POSTGRES})


_ANYWHERE = {
    "worker kill": 300,
    "worker stop": 12,
    "worker drain": 12,
    "redis kill": 12,
    "redis flush": 12,
    "redis freeze": 10,
    "redis full": 10,
    "redis cut": 18,
    "redis stall": 4,
    "api kill": 54,
    "foreign message": 10,
}
_OF_POSTGRES = {
    "database restart": 22,
    "database freeze": 6,
    "database backends": 8,
    "database cut": 12,
    "database stall": 4,
    "database slow": 8,
    "database lost commits": 20,
}


def of_this(faults: Mapping[str, int], kind: str) -> Mapping[str, int]:
    """Leave out what a database of this kind cannot suffer."""
    return {name: count for name, count in faults.items() if kind == "postgresql" or name not in _OF_POSTGRES}


@dataclass(kw_only=True)
class _Run:
    """What one of them was."""

    profile: Profile
    kind: str
    seed: int
    findings: Findings = field(default_factory=Findings)
    faults: Counter[str] = field(default_factory=Counter)
    #: What stood in the way of one; it was done a little later.
    errors: list[str] = field(default_factory=list)
    #: Each of them: its name, when it began and when it was over.
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    #: From the first submit to the last fault's end, on `time.time()`.
    began: float = 0.0
    over: float = 0.0
    #: Seconds after the faults until every job had ended; infinite: some never did.
    ended_after_s: float = math.inf
    #: Dead letters, which were retried.
    dead: int = 0
    integrity: str = "ok"
    #: Of jobs whose worker was killed.
    waits: list[checks.Recovery] = field(default_factory=list)

    @property
    def spent_s(self) -> float:
        return self.over - self.began

    def kills(self, stage: Stage, name: str) -> list[Death]:
        """Return the processes of this kind that were killed while faults went on."""
        return [
            one
            for one in stage.deaths
            if one.name.startswith(name)
            and one.status == -signal.SIGKILL
            and self.began <= one.at <= self.over
        ]


def run(profile: Profile, kind: str, seed: int, console: Console, keep: Path | None = None) -> int:
    """Run it, print what was found, and return the exit status."""
    console.print(f"chaos: {profile.name} on {kind}, seed {seed}", highlight=False)
    this = _Run(profile=profile, kind=kind, seed=seed)
    with world(kind, folder=keep) as built:
        database = built.database.direct()
        built.start(WORKERS, _switched_on(_FAILPOINTS, seed), _switched_on(_API_FAILPOINTS, seed))
        users = Users(
            built.url,
            f"{built.sink.url}?{CANARY}",
            jobs=profile.jobs,
            seconds=profile.seconds,
            seed=seed,
            findings=this.findings,
        )
        _hurt(built, users, this, console)
        console.print(
            f"faults over after {this.over - this.began:.0f} s; now every job ends", highlight=False
        )
        _settle(built, database, users, this)
        verdict = _examine(built, database, users, this)
        database.close()
        return _report(built, verdict, this)


def _hurt(built: World, users: Users, this: _Run, console: Console) -> None:
    """Do all faults under load, and show how far it is."""
    planned = schedule(of_this(this.profile.faults, this.kind), this.profile.seconds, this.seed)
    faults = Faults(built, planned)
    working = threading.Thread(target=faults.run, name="faults")
    this.began = time.time()
    users.start()
    working.start()
    with Progress(console=console, transient=True) as bar:
        done = bar.add_task("faults", total=len(planned))
        accepted = bar.add_task("jobs accepted", total=this.profile.jobs)
        while working.is_alive():
            working.join(_LOOK_S)
            bar.update(done, completed=faults.done.total())
            bar.update(accepted, completed=len(users.accepted))
    this.errors = faults.errors
    this.faults, this.spans, this.over = faults.done, faults.spans, time.time()
    _calm(built)


def _settle(built: World, database: Database, users: Users, this: _Run) -> None:
    """Wait until everything has ended, was retried where it was dead, and was told."""
    if users.wait_until_submitted(checks.ENDED_WITHIN_S):
        this.ended_after_s = checks.wait_for_the_end(database) or math.inf
    this.dead = _retry_the_dead(users)
    checks.wait_for_the_end(database)
    checks.wait_for_deliveries(database)
    users.close()


def _examine(built: World, database: Database, users: Users, this: _Run) -> checks.Verdict:
    verdict = checks.examine(database, users.orders, this.findings)
    this.waits = checks.recoveries(verdict.stories, this.kills(built.stage, "worker"))
    checks.check_webhooks(built, users.orders, verdict, this.findings)
    checks.check_blobs(built, database, this.findings)
    checks.check_processes(built, this.findings)
    checks.check_logs(built.stage.logs, (CANARY, built.queue.password), this.findings)
    if isinstance(built.database, Sqlite):
        this.integrity = built.database.integrity()
    return verdict


def _switched_on(points: Mapping[str, float], seed: int) -> str:
    words = [f"{name}=kill:{probability}" for name, probability in points.items()]
    return ",".join([f"seed={seed}", *words])


def _calm(built: World) -> None:
    """No failpoint any more: programs that die from now on die of something else."""
    built.heal()
    built.stage.replace(built.api, built.api_command())
    for worker in built.workers:
        built.stage.replace(worker, built.worker_command(worker.name))
    # Those that still have them are replaced now.
    for program in (built.api, *built.workers):
        built.stage.restart(program)
    built.wait_until_ready(WORKERS)


def _retry_the_dead(users: Users) -> int:
    """Retry what ran out of attempts, as an operator would, and return how many those were."""
    found = 0
    token = ""
    with users.client() as client:
        while True:
            query: dict[str, str | int] = {
                "status": "failed",
                "error": "attempts_exhausted",
                "page_size": 200,
                "page_token": token,
            }
            answer = client.get("/v1/jobs", params=query).raise_for_status().json()
            for job in answer["jobs"]:
                client.post(f"/v1/jobs/{job['id']}/retry").raise_for_status()
                found += 1
            if (token := answer["next_page_token"] or "") == "":
                return found


def _report(built: World, verdict: checks.Verdict, this: _Run) -> int:
    is_hell = this.profile.name == "hell"
    name = "chaos" if this.kind == "postgresql" else f"chaos_{this.kind}"
    report = Report(name=name, rounds=1, trial=not is_hell, command='make chaos ARGS="--hell"')
    _note(report, verdict, this)
    _add_faults(report, built, this)
    _add_effects(report, built, verdict, this)
    for invariant in _INVARIANTS:
        report.bar(invariant, len(this.findings.faults[invariant]), 0, at_least=False)
    if is_hell:
        # How fast is nothing for a test to say, whose machine may be busy.
        report.bar("recovery p99", report.figures["recovery p99"].median, 2 * LEASE_S, at_least=False)
        report.bar("all ended after the faults", this.ended_after_s, _ALL_ENDED_S, at_least=False)
    report.bar("integrity", float(this.integrity == "ok"), 1.0)
    for figure, limit in _ENOUGH[this.kind].items() if is_hell else ():
        report.bar(f"enough {figure}", report.figures[figure].median, limit)
    checks.dump(OUT / f"{name}.faults.json", verdict, this.findings, this.waits)
    return report.finish()


def _note(report: Report, verdict: checks.Verdict, this: _Run) -> None:
    report.note(f"seed {this.seed}, {this.kind}, {this.spent_s:.0f} s")
    report.note(f"ends {dict(sorted(verdict.by_state.items()))}")
    report.note(f"faults {dict(sorted(this.faults.items()))}")
    report.note(f"faults done again, since another one was in the way: {len(this.errors)}")
    report.note(f"seen {dict(sorted(this.findings.counts.items()))}")
    examples = (f"{name}: {words}" for name, found in this.findings.faults.items() for words in found)
    for words in itertools.islice(examples, _EXAMPLES):
        report.note(words[:400])


def _add_faults(report: Report, built: World, this: _Run) -> None:
    proxy = built.database.proxy
    done = this.faults
    report.add("worker kills", [len(this.kills(built.stage, "worker"))], "kills")
    report.add("api kills", [len(this.kills(built.stage, "api"))], "kills")
    report.add("redis faults", [sum(done[one] for one in _OF_REDIS)], "faults")
    report.add("database restarts", [done["database restart"]], "restarts")
    cuts = (" cut", " stall", " backends", " commits")
    report.add("cut connections", [sum(done[one] for one in done if one.endswith(cuts))], "faults")
    report.add("commits whose answer was lost", [proxy.lost_commits if proxy else 0], "commits")


def _add_effects(report: Report, built: World, verdict: checks.Verdict, this: _Run) -> None:
    waits = [one.seconds for one in this.waits] or [0.0]
    told = built.sink.taken
    report.add("jobs", [len(verdict.rows)], "jobs")
    report.add("recovery p50", [quantile(waits, 0.5)], "s")
    report.add("recovery p99", [quantile(waits, 0.99)], "s")
    report.add("recovery max", [max(waits)], "s")
    # Afterwards there is nothing to end.
    last = min(this.over, max(one.at / 1000 for story in verdict.stories.values() for one in story[:1]))
    since, until = checks.longest_gap(verdict.stories, this.began, last)
    during = sorted({name for name, began, over in this.spans if began < until and over > since})
    report.add("longest gap", [until - since], "s")
    report.note(f"longest gap after {since - this.began:.0f} s, during {during}")
    report.add("fenced writes", [checks.lines_with(built.stage.logs, "the outcome is dropped")], "writes")
    report.add("kept outcomes", [checks.lines_with(built.stage.logs, "settled after all")], "outcomes")
    report.add("re-runs", [checks.reruns(verdict.stories)], "runs")
    report.add("dead letters, retried", [this.dead], "jobs")
    report.add("events told", [len(told)], "events")
    report.add("events told again", [sum(told.values()) - len(told)], "events")

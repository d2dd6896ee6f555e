"""Schemathesis against the running service, at length: `python -m tests.hostile [--cases N] [--seed S]`.

The seed is printed; given again, the same cases are drawn. Exits 1 at any finding.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shared.schemas import catalogue
from tests.hostile.campaign import UNREACHABLE, Finding, Tally, attack, target

#: Drawn per operation in one round.
_EXAMPLES = 60


def main() -> int:
    """Run what the command line asks for, and return the exit status."""
    given = _arguments()
    console = Console(width=max(Console().width, 110), highlight=False)
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    console.print(f"schemathesis, at least {given.cases:,} cases, seed {seed}")
    began, tally = time.monotonic(), Tally()

    def tell(phase: str) -> None:
        console.print(f"{time.monotonic() - began:7.1f} s  {tally.cases:>9,} cases  {phase}")

    with tempfile.TemporaryDirectory() as folder, target(Path(folder)) as aim:
        attack(aim, tally, seed=seed, examples=_EXAMPLES, tell=tell)
        while tally.cases < given.cases:
            seed += 1
            attack(aim, tally, seed=seed, examples=_EXAMPLES, every_edge=False, tell=tell)
    console.print(_operations(tally))
    console.print(f"{tally.cases:,} cases in {time.monotonic() - began:.0f} s: {_listed(tally.phases)}")
    console.print(f"jobs accepted: {_listed(tally.tasks)}")
    console.print(f"submits in batches: {_listed(tally.members)}")
    console.print(f"answers to methods that no path has: {_listed(tally.strangers)}")
    for finding, times in tally.findings.most_common():
        _print(console, finding, times)
    shortfalls = _shortfalls(tally)
    for shortfall in shortfalls:
        console.print(shortfall, markup=False)
    console.print(f"{len(tally.findings)} findings")
    return 1 if tally.findings or shortfalls else 0


def _operations(tally: Tally) -> Table:
    columns = ("2xx", "304", "4xx", "5xx", "none")
    table = Table("operation", "requests", *columns)
    for operation, answers in sorted(tally.answers.items()):
        kinds: Counter[str] = Counter()
        for status, number in answers.items():
            kinds[{0: "none", 3: "304"}.get(status // 100, f"{status // 100}xx")] += number
        table.add_row(operation, f"{answers.total():,}", *(f"{kinds[column]:,}" for column in columns))
    return table


def _listed(counts: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.most_common())


def _print(console: Console, finding: Finding, times: int) -> None:
    console.rule(f"{finding.operation}: {finding.title} ({finding.check}, {times} times)", align="left")
    console.print(f"{finding.message}\n\n{finding.request}", markup=False)


def _shortfalls(tally: Tally) -> list[str]:
    """Return what would make a run without findings worth nothing."""
    refused = [f"{operation} accepted nothing" for operation in sorted(tally.refused - UNREACHABLE)]
    missing = [f"no job of the task {task} was accepted" for task in sorted(catalogue().keys() - tally.tasks)]
    return [*tally.errors, *refused, *missing]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make hostile", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, help="at least so many; 10,000 unless given")
    parser.add_argument("--seed", type=int, default=None, help="drawn unless given")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

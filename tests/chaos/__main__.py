"""The service under faults: `python -m tests.chaos [SCENE] [--minutes N | --hell] [--seed S] [--database D]`.

Without a scene: everything at once. The seed is printed; given again, the same faults come at the same times.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from benchmarks.report import OUT
from tests.chaos import disks, duplicates, mixed, overload, poison, races, rolling, stops
from tests.chaos.scenes import Scene

DATABASES = ("postgresql", "sqlite")
SCENES: Mapping[str, Callable[[Scene], int]] = {
    "stops": stops.run,
    "poison": poison.run,
    "races": races.run,
    "overload": overload.run,
    "duplicates": duplicates.run,
    "rolling": rolling.run,
    "disks": disks.run,
}


def main() -> int:
    """Run what the command line asks for, and return the exit status."""
    given = _arguments()
    console = Console(width=max(Console().width, 110))
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    OUT.mkdir(exist_ok=True)
    statuses = [0]
    for name in given.scenes:
        for kind in given.database or DATABASES[:1]:
            console.print(f"chaos: {name} on {kind}, seed {seed}", highlight=False)
            statuses.append(SCENES[name](Scene(kind=kind, seed=seed, share=given.share)))
    for kind in () if given.scenes else given.database or DATABASES:
        profile = mixed.hell(kind) if given.hell else mixed.short(given.minutes)
        statuses.append(mixed.run(profile, kind, seed, console, given.keep and given.keep / kind))
    return max(statuses)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scenes", nargs="*", choices=[*SCENES, []], help="only these, one after the other")
    parser.add_argument("--minutes", type=float, default=3.0, help="length of a run; 3 unless given")
    parser.add_argument("--hell", action="store_true", help="the run whose figures are published")
    parser.add_argument(
        "--share", type=float, default=1.0, help="part of a scene's work; below 1 it is a trial"
    )
    parser.add_argument("--seed", type=int, default=None, help="drawn unless given")
    parser.add_argument("--database", choices=DATABASES, action="append", help="may be given twice")
    parser.add_argument("--keep", type=Path, default=None, help="keep logs and data in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""What every benchmark reports: figures with their spread, bars that hold or not, where it ran."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"

Side = TypeVar("Side")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured quantity over several rounds."""

    samples: Sequence[float]
    unit: str

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A promise about a figure."""

    value: float
    limit: float
    #: Whether the value must be at least the limit; otherwise at most.
    at_least: bool = True

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def relation(self) -> str:
        return ">=" if self.at_least else "<="


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much a run does: the whole, or a part to try it."""

    rounds: int
    #: Of the work in one round.
    share: float = 1.0

    @property
    def is_trial(self) -> bool:
        return self.share < 1.0

    def of(self, count: int, *, least: int = 1) -> int:
        """Return this share of a count."""
        return max(least, round(count * self.share))


def read_effort(question: str | None, *, rounds: int, arguments: Sequence[str] | None = None) -> Effort:
    """Return what the command line asks for.

    Args:
        question: the benchmark's docstring, for `--help`.
        rounds: unless the command line says otherwise.
    """
    summary = (question or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each side is measured")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="part of the work in each round; below 1 it is a trial, whose JSON no figure is made from",
    )
    given = parser.parse_args(arguments)
    return Effort(rounds=given.rounds, share=given.share)


@dataclass(kw_only=True, slots=True)
class Report:
    """Collects figures; `finish` prints, writes and says whether every bar holds."""

    name: str
    rounds: int
    figures: dict[str, Figure] = field(default_factory=dict)
    bars: dict[str, Bar] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    #: Its JSON stands apart, so that no published figure is made from it.
    trial: bool = False
    #: What measures it again; empty: the benchmark of its name.
    command: str = ""
    _load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(self, key: str, samples: Sequence[float], unit: str) -> Figure:
        """Record one figure's rounds and return it."""
        self.figures[key] = Figure(samples=list(samples), unit=unit)
        return self.figures[key]

    def ratio(self, key: str, over: Sequence[float], under: Sequence[float]) -> Figure:
        """Record how many times the one is the other, round by round, and return it."""
        return self.add(key, [ours / theirs for ours, theirs in zip(over, under, strict=True)], "x")

    def note(self, words: str) -> None:
        """Say what the reader of the figures must know."""
        self.notes.append(words)

    def bar(self, key: str, value: float, limit: float, *, at_least: bool = True) -> None:
        """Promise something of a value."""
        self.bars[key] = Bar(value=value, limit=limit, at_least=at_least)

    def finish(self) -> int:
        """Print the table, write the JSON, and return the exit status: 1 when a bar falls short."""
        self._print()
        OUT.mkdir(exist_ok=True)
        file = OUT / f"{self.name}{'.trial' if self.trial else ''}.json"
        file.write_text(json.dumps(self.as_json(), indent=2) + "\n")
        return 0 if all(bar.holds for bar in self.bars.values()) else 1

    def as_json(self) -> dict[str, object]:
        """Return the report in the form that README's figures are made from."""
        return {
            "name": self.name,
            "command": self.command or f"python -m benchmarks.{self.name}",
            "commit": _commit(),
            "machine": {**_machine(), "load_before": round(self._load_before, 2)},
            "rounds": self.rounds,
            "figures": {
                key: {
                    "median": figure.median,
                    "min": min(figure.samples),
                    "max": max(figure.samples),
                    "unit": figure.unit,
                }
                for key, figure in self.figures.items()
            },
            "bars": {
                key: {
                    "value": bar.value,
                    "limit": bar.limit,
                    "at_least": bar.at_least,
                    "holds": bar.holds,
                }
                for key, bar in self.bars.items()
            },
            "notes": self.notes,
        }

    def _print(self) -> None:
        table = Table(title=f"{self.name}: {self.rounds} rounds, {_machine()['cores']} cores")
        for heading in ("figure", "median", "min", "max", "unit"):
            table.add_column(heading, justify="left" if heading in {"figure", "unit"} else "right")
        for key, figure in self.figures.items():
            spread = (figure.median, min(figure.samples), max(figure.samples))
            table.add_row(key, *(readable(value) for value in spread), figure.unit)
        # Wide enough for a log file, where there is no terminal to ask.
        console = Console(width=max(Console().width, 110))
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False)
        for key, bar in self.bars.items():
            verdict = "holds" if bar.holds else "FALLS SHORT"
            console.print(f"{verdict}: {key} {bar.value:.3g} {bar.relation} {bar.limit:g}", markup=False)


def readable(value: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least this share of them does not exceed (nearest rank).

    Args:
        share: in (0, 1]: 0.99 for p99.
    """
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def in_turn(sides: Sequence[Side], rounds: int) -> Iterator[tuple[int, Side]]:
    """Yield (round, side): every side in every round, each round beginning with another one.

    A machine that slows down for a while then slows every side, and none is always the first.
    """
    for number in range(rounds):
        first = number % len(sides)
        for side in (*sides[first:], *sides[:first]):
            yield number, side


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=OUT.parent)
    changed = subprocess.run(
        ["git", "status", "--porcelain"], capture_output=True, text=True, check=False, cwd=OUT.parent
    )
    commit = done.stdout.strip() or "unknown"
    return f"{commit}+" if changed.stdout.strip() else commit


def _machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "onnxruntime": _version("onnxruntime"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

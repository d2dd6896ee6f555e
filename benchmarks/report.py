"""What every benchmark reports: figures with their spread, bars that hold or not, where it ran."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"


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


@dataclass(kw_only=True, slots=True)
class Report:
    """Collects figures; `finish` prints, writes and says whether every bar holds."""

    name: str
    rounds: int
    figures: dict[str, Figure] = field(default_factory=dict)
    bars: dict[str, Bar] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, key: str, samples: Sequence[float], unit: str) -> Figure:
        """Record one figure's rounds and return it."""
        self.figures[key] = Figure(samples=list(samples), unit=unit)
        return self.figures[key]

    def finish(self) -> int:
        """Print the table, write the JSON, and return the exit status: 1 when a bar falls short."""
        self._print()
        OUT.mkdir(exist_ok=True)
        (OUT / f"{self.name}.json").write_text(json.dumps(self.as_json(), indent=2) + "\n")
        return 0 if all(bar.holds for bar in self.bars.values()) else 1

    def as_json(self) -> dict[str, object]:
        """Return the report in the form that README's figures are made from."""
        return {
            "name": self.name,
            "commit": _commit(),
            "machine": _machine(),
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
                key: {"value": bar.value, "limit": bar.limit, "holds": bar.holds}
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
            table.add_row(
                key, *(f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in spread), figure.unit
            )
        # Wide enough for a log file, where there is no terminal to ask.
        console = Console(width=max(Console().width, 110))
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False)
        for key, bar in self.bars.items():
            relation = ">=" if bar.at_least else "<="
            verdict = "holds" if bar.holds else "FALLS SHORT"
            console.print(f"{verdict}: {key} {bar.value:.3g} {relation} {bar.limit:g}", markup=False)


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }

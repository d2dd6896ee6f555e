"""README's figures, made from what the benchmarks wrote.

    python -m benchmarks.figures                 write them into README.md
    python -m benchmarks.figures --check         change nothing; exit 1 when README says something else
    python -m benchmarks.figures --show NAME     print those of one benchmark

In README they stand between `<!-- figures: NAME -->` and `<!-- end -->`. What has not been measured in this
clone stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.report import OUT, readable

README = Path(__file__).parents[1] / "README.md"

_BLOCK = re.compile(
    r"(?P<begin>^<!-- figures: (?P<name>[a-z0-9_-]+) -->\n)(?P<body>.*?)(?P<end>^<!-- end -->$)",
    re.MULTILINE | re.DOTALL,
)


def render(report: Mapping[str, Any]) -> str:
    """Return a benchmark's figures and bars as Markdown."""
    lines = ["| | median | range | |", "|---|--:|--:|---|"]
    for name, figure in report["figures"].items():
        low, high = readable(figure["min"]), readable(figure["max"])
        spread = "" if low == high else f"{low} to {high}"
        lines.append(f"| {_cell(name)} | {readable(figure['median'])} | {spread} | {_cell(figure['unit'])} |")
    if report["bars"]:
        lines += ["", "| bar | measured | promised | |", "|---|--:|--:|---|"]
    for name, bar in report["bars"].items():
        relation = "≥" if bar.get("at_least", True) else "≤"
        verdict = "holds" if bar["holds"] else "**falls short**"
        lines.append(f"| {_cell(name)} | {bar['value']:.3g} | {relation} {bar['limit']:g} | {verdict} |")
    return "\n".join([*lines, "", _source(report)])


def refreshed(text: str, reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a text whose blocks hold the figures of the reports; a block without a report stays."""

    def replace(block: re.Match[str]) -> str:
        report = reports.get(block["name"])
        body = block["body"] if report is None else f"\n{render(report)}\n\n"
        return f"{block['begin']}{body}{block['end']}"

    return _BLOCK.sub(replace, text)


def blocks(text: str) -> list[str]:
    """Return the benchmarks whose figures a text shows, in order."""
    return [block["name"] for block in _BLOCK.finditer(text)]


def read_reports(folder: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the reports that there are, by name."""
    files = {name: folder / f"{name}.json" for name in names}
    return {
        name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()
    }


def main(arguments: Sequence[str] | None = None, *, readme: Path = README, folder: Path = OUT) -> int:
    say = partial(Console(soft_wrap=True).print, markup=False, highlight=False)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when README says something else")
    parser.add_argument("--show", metavar="NAME", help="print the figures of one benchmark")
    given = parser.parse_args(arguments)
    if given.show:
        [report] = read_reports(folder, [given.show]).values() or [None]
        say(f"{given.show} was not measured here" if report is None else render(report))
        return 0 if report else 1
    text = readme.read_text(encoding="utf-8")
    reports = read_reports(folder, blocks(text))
    for name in blocks(text):
        if name not in reports:
            say(f"{name}: not measured in this clone; its figures stay as they are")
    fresh = refreshed(text, reports)
    if given.check:
        stale = [name for name in reports if refreshed(text, {name: reports[name]}) != text]
        for name in stale:
            say(f"{name}: README differs from {folder / name}.json; run python -m benchmarks.figures")
        return 1 if stale else 0
    if fresh != text:
        readme.write_text(fresh, encoding="utf-8")
    say(f"README holds the figures of {', '.join(reports) or 'no benchmark'}")
    return 0


def _source(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    rounds = report["rounds"]
    # Reports of former releases name none.
    command = report.get("command", f"python -m benchmarks.{report['name']}")
    times = "once" if rounds == 1 else f"{rounds} rounds"
    return (
        f"`{command}`, {times}, {machine['cores']} cores "
        f"({machine['processor']}), Python {machine['python']}, torch {machine['torch']}, "
        f"commit {report['commit']}."
    )


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())

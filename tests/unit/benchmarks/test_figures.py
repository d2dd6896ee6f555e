"""README's figures come from the JSON, and a README that says something else is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import figures

README = """\
# Title

<!-- figures: speed -->
old words
<!-- end -->

Between.

<!-- figures: size -->
stay
<!-- end -->
"""


@pytest.fixture
def report() -> dict[str, Any]:
    machine = {"cores": 2, "processor": "Some | CPU", "python": "3.11", "torch": "2.11"}
    return {
        "name": "speed",
        "commit": "abc1234",
        "machine": machine,
        "rounds": 3,
        "figures": {
            "bare | loop": {"median": 138.0, "min": 130.0, "max": 141.5, "unit": "items/s"},
            "jobs": {"median": 4.0, "min": 4.0, "max": 4.0, "unit": ""},
        },
        "bars": {
            "over the bare loop": {"value": 0.931, "limit": 0.9, "at_least": True, "holds": True},
            "slower": {"value": 1.2, "limit": 1.15, "at_least": False, "holds": False},
        },
        "notes": [],
    }


def test_figures_become_a_table_with_their_spread(report: dict[str, Any]) -> None:
    lines = figures.render(report).splitlines()

    assert "| bare \\| loop | 138 | 130 to 142 | items/s |" in lines
    assert "| jobs | 4 |  |  |" in lines


def test_a_bar_says_what_was_promised_and_whether_it_holds(report: dict[str, Any]) -> None:
    lines = figures.render(report).splitlines()

    assert "| over the bare loop | 0.931 | ≥ 0.9 | holds |" in lines
    assert "| slower | 1.2 | ≤ 1.15 | **falls short** |" in lines


def test_only_the_blocks_that_were_measured_change(report: dict[str, Any]) -> None:
    fresh = figures.refreshed(README, {"speed": report})

    assert "old words" not in fresh
    assert figures.render(report) in fresh
    assert "<!-- figures: size -->\nstay\n<!-- end -->" in fresh
    assert fresh.startswith("# Title\n\n<!-- figures: speed -->\n")
    assert "<!-- end -->\n\nBetween." in fresh


def test_refreshing_twice_changes_nothing_more(report: dict[str, Any]) -> None:
    once = figures.refreshed(README, {"speed": report})

    assert figures.refreshed(once, {"speed": report}) == once


def test_a_readme_that_differs_from_the_json_fails_the_check_until_it_is_refreshed(
    report: dict[str, Any], tmp_path: Path
) -> None:
    readme, folder = tmp_path / "README.md", tmp_path / "out"
    readme.write_text(README)
    folder.mkdir()
    (folder / "speed.json").write_text(json.dumps(report))

    def run(*arguments: str) -> int:
        return figures.main(arguments, readme=readme, folder=folder)

    assert run("--check") == 1
    assert readme.read_text() == README
    assert run() == 0
    assert run("--check") == 0
    report["figures"]["jobs"]["median"] = 5.0
    (folder / "speed.json").write_text(json.dumps(report))
    assert run("--check") == 1


def test_what_was_not_measured_here_fails_no_check(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README)

    assert figures.main(["--check"], readme=readme, folder=tmp_path / "none") == 0

"""How good the starter profile is, on the demo's photographs: no timing, the same figures on every machine.

The photographs were chosen among those that the starter classifies rightly, so these figures are a ceiling
rather than an estimate for others. `python -m tests.quality.questions` and `python -m tests.quality.composed`
print what is behind them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from benchmarks.report import Report, read_effort
from tests.direct import loaded
from tests.quality import composed, questions

#: Of two photographs side by side, in how many of ten the named one must be found.
_FOUND = 0.9
_MOST_WRONG = 5.0


def main() -> int:
    read_effort(__doc__, rounds=1)
    models = loaded("starter")
    report = Report(name="quality", rounds=1, trial=False)
    side_by_side = composed.figures(models)
    _add(report, side_by_side)
    for name in (composed.HEAT, composed.BOXES):
        hits, of = side_by_side[name]
        report.bar(name, hits / of, _FOUND)
    answered = {f"answer: {worth}": counts for worth, counts in questions.figures(models).items()}
    _add(report, answered)
    report.bar("answer: wrong", answered["answer: wrong"][0], _MOST_WRONG, at_least=False)
    report.note(
        "110 pictures of two photographs side by side; the questions and their accepted answers were written "
        "before any answer was seen, but rules were changed with the answers in view"
    )
    return report.finish()


def _add(report: Report, figures: Mapping[str, tuple[int, int]]) -> None:
    for name, (hits, of) in figures.items():
        report.add(name, [float(hits)], f"of {of}")


if __name__ == "__main__":
    sys.exit(main())

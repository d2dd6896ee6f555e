"""Suspects run when there are some, and nobody is held up when there are none."""

from __future__ import annotations

import pytest

from worker.suspects import Suspects


@pytest.mark.parametrize(("waiting", "runs"), [(True, 1), (False, 0)])
def test_the_process_is_emptied_only_when_a_suspect_waits(*, waiting: bool, runs: int) -> None:
    calls: list[int] = []

    def run() -> int:
        calls.append(1)
        return 1

    Suspects(lambda: waiting, run).round()

    assert len(calls) == runs

"""Faults on purpose happen where they were switched on, and nowhere that does real work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import BadConfiguration, StoreUnavailable
from shared.failpoints import NONE, Failpoint, Failpoints, parse, switched_on
from shared.settings import SharedSettings

_HIT = """
from shared.failpoints import Failpoint, parse
parse({text!r}).hit(Failpoint.AFTER_CLAIM)
"""


def hitting(text: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _HIT.format(text=text)])


def raises(failpoints: Failpoints, count: int) -> list[bool]:
    """Return which of so many hits raise."""
    outcomes = []
    for _ in range(count):
        try:
            failpoints.hit(Failpoint.AFTER_CLAIM)
        except StoreUnavailable:
            outcomes.append(True)
        else:
            outcomes.append(False)
    return outcomes


def test_nothing_happens_where_nothing_is_switched_on() -> None:
    for failpoints in (NONE, parse(""), parse(" , "), parse("before_claim=raise")):
        failpoints.hit(Failpoint.AFTER_CLAIM)


def test_kill_ends_the_process_as_an_operator_would_with_9() -> None:
    assert hitting("after_claim=kill").wait(20) == -signal.SIGKILL


def test_stop_leaves_the_process_standing_until_it_is_continued() -> None:
    process = hitting("after_claim=stop")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    assert process.wait(20) == 0


def test_raise_is_a_database_that_does_not_answer() -> None:
    with pytest.raises(StoreUnavailable, match="after_claim"):
        parse("after_claim=raise").hit(Failpoint.AFTER_CLAIM)


def test_sleep_takes_its_seconds() -> None:
    before = time.monotonic()
    parse("after_claim=sleep:0.05").hit(Failpoint.AFTER_CLAIM)
    assert time.monotonic() - before >= 0.05


def test_a_seed_repeats_the_dice_and_another_does_not() -> None:
    text = "after_claim=raise:0.5,seed={}"
    first, again, other = (raises(parse(text.format(seed)), 64) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert 0 < sum(first) < 64


def test_processes_of_one_seed_do_not_do_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_process(pid: int) -> list[bool]:
        with monkeypatch.context() as patched:
            patched.setattr("shared.failpoints.os.getpid", lambda: pid)
            return raises(parse("seed=7,after_claim=raise:0.5"), 64)

    assert of_process(100) == of_process(100)
    assert of_process(100) != of_process(101)


@pytest.mark.parametrize(
    "text",
    [
        "after_lunch=kill",
        "after_claim",
        "after_claim=",
        "after_claim=explode",
        "after_claim=kill:often",
        "after_claim=kill:0",
        "after_claim=kill:1.5",
        "after_claim=kill:0.5:0.5",
        "after_claim=sleep",
        "after_claim=sleep:-1",
        "after_claim=sleep:nan",
        "after_claim=kill,seed=",
    ],
)
def test_what_cannot_be_read_stops_the_start_and_is_named(text: str) -> None:
    with pytest.raises(BadConfiguration, match="ICONOTEXT_FAILPOINTS") as refused:
        parse(text)
    assert "PLACE=kill" in refused.value.message


def of_the_api(profile: str, folder: Path) -> object:
    from api.app import create_app
    from api.settings import ApiSettings

    return create_app(ApiSettings(failpoints="api_after_commit=kill", profile=profile, data_dir=folder))


def of_the_worker(profile: str, folder: Path) -> object:
    from worker.app import create_app
    from worker.settings import WorkerSettings

    return create_app(WorkerSettings(failpoints="after_claim=kill", profile=profile, data_dir=folder))


@pytest.mark.parametrize("start", [of_the_api, of_the_worker])
def test_a_service_that_does_real_work_does_not_start_with_them(
    start: Callable[[str, Path], object], tmp_path: Path
) -> None:
    with pytest.raises(BadConfiguration, match="ICONOTEXT_PROFILE=fake"):
        start("starter", tmp_path)


def test_they_go_with_the_fake_profile() -> None:
    with pytest.raises(StoreUnavailable):
        switched_on(SharedSettings(failpoints="after_claim=raise", profile="fake")).hit(Failpoint.AFTER_CLAIM)

"""The states, their moves, and the ids."""

from __future__ import annotations

import re
import time
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs import MOVES, JobState, NewJob, Priority, new_job_id

TERMINAL = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED}


def reachable(state: JobState) -> set[JobState]:
    found: set[JobState] = set()
    pending = [state]
    while pending:
        for target in MOVES[pending.pop()] - found:
            found.add(target)
            pending.append(target)
    return found


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(JobState)


def test_terminal_states_are_final() -> None:
    assert {state for state in JobState if state.is_terminal} == TERMINAL


@pytest.mark.parametrize("state", sorted(set(JobState) - TERMINAL))
def test_every_job_can_end(state: JobState) -> None:
    assert reachable(state) & TERMINAL


def test_every_state_can_be_reached_from_a_submit() -> None:
    assert reachable(JobState.QUEUED) == set(JobState) - {JobState.QUEUED}


@pytest.mark.parametrize("state", JobState)
def test_a_state_once_left_never_comes_back(state: JobState) -> None:
    assert state not in reachable(state)


def test_a_job_being_cancelled_never_succeeds() -> None:
    assert JobState.SUCCEEDED not in reachable(JobState.CANCELING)


def test_only_a_queued_job_expires() -> None:
    assert {state for state in JobState if JobState.EXPIRED in MOVES[state]} == {JobState.QUEUED}


def test_high_priority_sorts_before_normal_before_low() -> None:
    assert [priority.label for priority in sorted(Priority)] == ["high", "normal", "low"]


@given(st.lists(st.integers(min_value=0, max_value=2**48 - 1), min_size=2, max_size=20))
def test_ids_made_in_different_milliseconds_sort_by_time(milliseconds: list[int]) -> None:
    def made_at(millisecond: int) -> str:
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr(time, "time_ns", lambda: millisecond * 1_000_000)
            return new_job_id()

    by_id = sorted((made_at(millisecond), millisecond) for millisecond in milliseconds)

    assert [millisecond for _, millisecond in by_id] == sorted(milliseconds)


def test_ids_made_in_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)

    assert len({new_job_id() for _ in range(1000)}) == 1000


def test_an_id_fits_a_url_and_a_log_line() -> None:
    assert re.fullmatch(r"job_[0-9a-f]{32}", new_job_id())


def test_a_job_cannot_be_changed_behind_the_stores_back() -> None:
    job = NewJob(id=new_job_id(), task="embed", input={})

    with pytest.raises(FrozenInstanceError):
        job.task = "match"  # type: ignore[misc]

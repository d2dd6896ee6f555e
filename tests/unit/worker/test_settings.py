"""A worker's settings: good ones are understood, bad ones stop the start and say which."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.errors import BadConfiguration
from shared.settings import read
from worker.settings import WorkerSettings


def test_pools_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_POOLS", "gpu-large, cpu")
    assert read(WorkerSettings).pools == ("gpu-large", "cpu")


def test_the_waits_between_tries_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_WEBHOOK_WAITS", "0.5, 300")
    assert read(WorkerSettings).webhook_waits == (timedelta(seconds=0.5), timedelta(minutes=5))


def test_the_heartbeat_is_a_third_of_the_lease_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_LEASE", "9")
    assert read(WorkerSettings).resolved_heartbeat == timedelta(seconds=3)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ICONOTEXT_SLOTS", "0", "ICONOTEXT_SLOTS"),
        ("ICONOTEXT_POOLS", " , ", "ICONOTEXT_POOLS"),
        ("ICONOTEXT_LEASE", "-5", "ICONOTEXT_LEASE"),
        ("ICONOTEXT_WEBHOOK_WAITS", "5,soon", "ICONOTEXT_WEBHOOK_WAITS"),
        ("ICONOTEXT_HEARTBEAT", "25", "at most a third of the lease"),
    ],
)
def test_a_bad_value_stops_the_start_and_says_which(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadConfiguration, match=says):
        read(WorkerSettings)

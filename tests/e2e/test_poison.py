"""One item that kills, hangs, poisons or swallows the model, among 15 good ones: only its own job fails."""

from __future__ import annotations

import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from client import Client, Job
from tests.e2e.conftest import Up

#: What is said in place of a text, the codes that its job may end with, and the most attempts of a neighbour:
#: one that was in flight when a process died runs again.
POISONS = {
    "not a number": ("fake:nan", {"model_failed"}, 1),
    "crash": ("fake:exit", {"attempts_exhausted"}, 2),
    "hang": ("fake:hang", {"attempts_exhausted", "timeout"}, 2),
    "ten gigabytes": (f"fake:allocate={10 * 2**30}", {"attempts_exhausted", "model_out_of_memory"}, 1),
}
#: Below the ten gigabytes, above what a worker with stand-in models maps.
ADDRESS_SPACE = 8 * 2**30


@pytest.mark.timeout(240)
@pytest.mark.parametrize("poison", POISONS)
def test_fifteen_neighbours_of_a_poison_item_succeed_and_the_worker_serves_on(
    start: Callable[..., Up], poison: str
) -> None:
    command, codes, attempts = POISONS[poison]
    up = start(ICONOTEXT_STUCK_AFTER="2").wait_until_ready()
    resource.prlimit(up.pid("worker-1"), resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    with up.client() as client:
        # It holds the device while the others gather behind it.
        client.submit("embed", texts=["fake:sleep=0.5 red"])
        texts = [f"red number {number}" for number in range(15)]
        texts.insert(7, f"{command} red")
        jobs = _run(client, texts)
        guilty = jobs.pop(7)
        after = client.wait(client.submit("embed", texts=["blue"]).id, 30)

    assert guilty.status == "failed"
    assert guilty.error is not None
    assert guilty.error.code in codes
    assert guilty.attempt <= 3
    assert [job.status for job in jobs] == ["succeeded"] * 15
    assert max(job.attempt for job in jobs) <= attempts
    assert after.attempt == 1


def _run(client: Client, texts: list[str]) -> list[Job]:
    def run(text: str) -> Job:
        return client.watch(client.submit("embed", texts=[text]).id, 180)

    with ThreadPoolExecutor(len(texts)) as threads:
        return list(threads.map(run, texts))

"""Who is alive, and who leads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from shared.jobs import WorkerId
from shared.store import JobStore

W1, W2 = WorkerId("worker-1"), WorkerId("worker-2")
MINUTE = timedelta(minutes=1)
Later = Callable[[timedelta], None]


def test_workers_announce_themselves_and_are_seen(store: JobStore, later: Later) -> None:
    store.announce(W2, {"pools": ["default"]})
    store.announce(W1, {"pools": ["gpu"]})
    later(timedelta(seconds=50))
    store.announce(W1, {"pools": ["gpu", "default"]})
    later(timedelta(seconds=20))
    assert store.workers(seen_within=MINUTE) == [(W1, {"pools": ["gpu", "default"]})]
    assert [worker for worker, _ in store.workers(seen_within=2 * MINUTE)] == [W1, W2]


def test_a_worker_that_withdrew_is_not_seen(store: JobStore) -> None:
    store.announce(W1, {})
    store.withdraw(W1)
    store.withdraw(W2)
    assert store.workers(seen_within=MINUTE) == []


def test_a_worker_long_unseen_is_forgotten(store: JobStore, later: Later) -> None:
    store.announce(W1, {})
    later(timedelta(days=2))
    store.announce(W2, {})
    store.purge()
    assert [worker for worker, _ in store.workers(seen_within=timedelta(days=9))] == [W2]


def test_one_worker_leads_until_its_term_ends(store: JobStore, later: Later) -> None:
    assert store.lead("reconciler", W1, MINUTE)
    assert not store.lead("reconciler", W2, MINUTE)
    assert store.lead("another", W2, MINUTE)
    later(timedelta(seconds=50))
    assert store.lead("reconciler", W1, MINUTE)
    later(timedelta(seconds=50))
    assert not store.lead("reconciler", W2, MINUTE)
    later(timedelta(seconds=11))
    assert store.lead("reconciler", W2, MINUTE)
    assert not store.lead("reconciler", W1, MINUTE)


def test_a_leader_that_withdraws_is_followed_at_once(store: JobStore) -> None:
    store.lead("reconciler", W1, MINUTE)
    store.withdraw(W1)
    assert store.lead("reconciler", W2, MINUTE)


def test_of_many_who_want_to_lead_one_does(store: JobStore) -> None:
    start = threading.Barrier(8)
    leading: list[bool] = []

    def run(place: int) -> None:
        start.wait()
        leading.append(store.lead("reconciler", WorkerId(f"worker-{place}"), MINUTE))

    threads = [threading.Thread(target=run, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(leading) == [False] * 7 + [True]

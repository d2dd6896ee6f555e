"""What the living workers say of themselves, and how much waits for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared.jobs import Json, WorkerId
from shared.store import JobStore

#: A pool's backlog is counted no further: that many are too many, and counting takes time.
LARGEST_BACKLOG = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """A pool's work, and who is there to do it."""

    name: str
    #: Jobs that could be claimed now, counted up to `LARGEST_BACKLOG`.
    queued: int
    workers: int
    #: Jobs that its workers run at a time.
    slots: int
    #: Time that its workers spent in model calls since they started.
    busy_seconds: float

    @property
    def queued_per_slot(self) -> float:
        """Return the number to scale by; with no slot, what a first one would have."""
        return self.queued / max(self.slots, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """The workers and their pools, at one moment."""

    #: By id; what each announced, which may lack anything.
    workers: Sequence[tuple[WorkerId, Json]]
    pools: Sequence[Pool]


def look(store: JobStore, lease: timedelta, routes: Mapping[str, str]) -> Fleet:
    """Return the fleet as it is now.

    Args:
        lease: a worker announces itself three times within it.
        routes: pool by task; a pool that jobs may be sent to is listed even when nobody is there.

    Raises:
        StoreUnavailable: nothing is known.
    """
    workers = store.workers(seen_within=lease)
    backlog = store.backlog(limit=LARGEST_BACKLOG)
    named = {*routes.values(), *backlog, *(pool for _, info in workers for pool in info.get("pools", ()))}
    return Fleet(workers=workers, pools=[_pool(name, workers, backlog) for name in sorted(named)])


def described(fleet: Fleet) -> Json:
    """Return a fleet as JSON."""
    return {
        "workers": [_worker(worker, info) for worker, info in fleet.workers],
        "backlog": {pool.name: pool.queued for pool in fleet.pools},
        "scaling": {
            pool.name: {
                "queued": pool.queued,
                "workers": pool.workers,
                "slots": pool.slots,
                "busy_seconds": pool.busy_seconds,
                "queued_per_slot": pool.queued_per_slot,
            }
            for pool in fleet.pools
        },
    }


def residency(info: Json) -> Iterator[Json]:
    """Yield what a worker says of each of its models."""
    for model in info.get("engine", {}).get("residency", ()):
        yield {
            "capability": model["capability"],
            "id": model["id"],
            "bytes": model.get("bytes"),
            "keep": model.get("keep", True),
            "resident": model.get("resident", True),
            "loads": model.get("loads", 0),
            "evictions": model.get("evictions", 0),
        }


def _pool(name: str, workers: Sequence[tuple[WorkerId, Json]], backlog: Mapping[str, int]) -> Pool:
    there = [info for _, info in workers if name in info.get("pools", ())]
    return Pool(
        name=name,
        queued=backlog.get(name, 0),
        workers=len(there),
        slots=sum(info.get("slots", 0) for info in there),
        busy_seconds=sum(info.get("engine", {}).get("busy_seconds", 0.0) for info in there),
    )


def _worker(worker: WorkerId, info: Json) -> Json:
    engine = info.get("engine", {})
    return {
        "id": worker,
        "host": info.get("host", ""),
        "pid": info.get("pid"),
        "device": info.get("device"),
        "profile": info.get("profile", ""),
        "pools": info.get("pools", []),
        "slots": info.get("slots", 0),
        "tasks": info.get("tasks", []),
        "missing": info.get("missing", {}),
        "memory_bytes": info.get("memory_bytes"),
        "models": list(residency(info)),
        "batches": engine.get("batches", {}),
        "items": engine.get("items", 0),
        "busy_seconds": engine.get("busy_seconds", 0.0),
        "waiting": engine.get("waiting", 0),
    }

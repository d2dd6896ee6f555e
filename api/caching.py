"""Which job has answered the same before."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from shared.caching import result_key
from shared.jobs import Json, NewJob
from shared.schemas import catalogue
from shared.store import JobStore

#: For so long, what workers said of themselves is not asked again.
_FRESH_S = 1.0


class Recall:
    """Finds earlier results of the same tenant for the same task, input and models."""

    def __init__(self, store: JobStore, lease: timedelta) -> None:
        """Take the store, and within which time a living worker announces itself."""
        self._store = store
        self._lease = lease
        self._lock = threading.Lock()
        self._models: list[Mapping[str, Json]] = []
        self._stale_at = 0.0

    def answer(self, new: Sequence[NewJob]) -> list[NewJob]:
        """Return the jobs in order; those that allow it name a job that answers them, where there is one.

        Raises:
            StoreUnavailable: it cannot be asked.
        """
        keys = [self._keys(job) if job.cache else [] for job in new]
        wanted = {key for found in keys for key in found}
        if not wanted:
            return list(new)
        # All jobs of one request belong to one tenant.
        known = self._store.find_cached(new[0].tenant, wanted)
        answers = [next((known[key] for key in found if key in known), None) for found in keys]
        return [
            job if answer is None else replace(job, answered_by=answer)
            for job, answer in zip(new, answers, strict=True)
        ]

    def _keys(self, job: NewJob) -> list[str]:
        """Return the job's key on each kind of worker that lives."""
        schema = catalogue()[job.task]
        needs = [*schema.needs, *schema.uses]
        return list(dict.fromkeys(result_key(job.task, job.input, models, needs) for models in self._kinds()))

    def _kinds(self) -> list[Mapping[str, Json]]:
        """Return the distinct sets of models of the living workers, asked for once in a while."""
        with self._lock:
            if time.monotonic() >= self._stale_at:
                kinds: list[Mapping[str, Json]] = []
                for _, worker in self._store.workers(seen_within=self._lease):
                    if (models := worker.get("models", {})) not in kinds:
                        kinds.append(models)
                self._models = kinds
                self._stale_at = time.monotonic() + _FRESH_S
            return self._models

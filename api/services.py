"""What the routes work with, put together once by `api.app`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from flask import current_app
from werkzeug.exceptions import RequestEntityTooLarge

from api.admission import Admission
from api.caching import Recall
from api.events import Watcher
from api.fleet import Fleet, look
from api.measures import Measures
from api.quotas import QuotaKeeper
from api.rates import Forecast
from api.reserve import Reserve
from api.settings import ApiSettings
from shared.blobs import BlobStore
from shared.failpoints import Failpoints
from shared.jobs import Job, JobId, Json, TenantId
from shared.manifests import Manifest
from shared.signing import Signer
from shared.store import JobStore

_KEY = "iconotext"


class Hinter(Protocol):
    """What the API needs of `shared.queue.Hints`."""

    def send(self, pool: str, job_ids: Sequence[JobId], request_id: str = "") -> None:
        """Tell workers of new jobs, and which request brought them; never blocks, never raises."""

    def ping(self) -> None:
        """Raise `QueueUnavailable` unless the queue answers."""

    def close(self) -> None:
        """Stop sending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """One of each, for the life of the process."""

    settings: ApiSettings
    store: JobStore
    blobs: BlobStore
    hints: Hinter
    watcher: Watcher
    recall: Recall
    measures: Measures
    admission: Admission
    forecast: Forecast
    quotas: QuotaKeeper
    reserve: Reserve
    signer: Signer
    failpoints: Failpoints
    #: Which models the workers are to hold.
    manifest: Manifest
    #: Where a task's jobs wait, by the task's name.
    pools: Mapping[str, str]
    #: Ends what has threads or connections; calling it again does nothing.
    close: Callable[[], None]

    def admit(self, owner: TenantId, announced: int | None) -> None:
        """Return when a tenant may bring more jobs, before their body is read.

        Args:
            announced: the body's bytes, where the caller told.

        Raises:
            TooManyJobs, Overloaded: enough waits.
            StorageQuotaExceeded: the tenant keeps enough.
            BlobsFull, DatabaseFull: it would not fit on a disk.
            RequestEntityTooLarge: nothing so long is ever accepted.
        """
        self.admit_bytes(owner, announced)
        self.admission.check(owner)

    def admit_bytes(self, owner: TenantId, announced: int | None) -> None:
        """Return when there is room for what a tenant brings; raises as `admit` does for bytes."""
        if (announced or 0) > max(self.settings.limits.body_bytes, self.settings.limits.video_bytes):
            # No disk would make it acceptable.
            raise RequestEntityTooLarge
        self.reserve.require(announced)
        self.quotas.require_storage(owner, announced)

    def eta_s(self, job: Job) -> float | None:
        """Return in how many seconds a queued job may begin; None: it is not, or nobody knows."""
        return None if job.position is None else self.forecast.eta_s(job.pool, job.position)

    def fleet(self) -> Fleet:
        """Return the living workers, and what waits for them; raises `StoreUnavailable`."""
        return look(self.store, self.settings.lease, self.pools)

    def ready_workers(self) -> list[Json]:
        """Return what each living worker says of itself; one announces itself three times a lease."""
        return [info for _, info in self.store.workers(seen_within=self.settings.lease)]


def services() -> Services:
    """Return what the present app was composed of."""
    return cast(Services, current_app.extensions[_KEY])


def extensions(composed: Services) -> dict[str, Services]:
    """Return the entry that makes `services()` find them."""
    return {_KEY: composed}

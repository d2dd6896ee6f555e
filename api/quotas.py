"""What a tenant may have: requests and jobs a minute, jobs that wait, bytes that are kept.

Rates are counted in this process: a service of several API processes allows each of them as much. They are a
sliding window (two fixed ones, weighted), so that nobody gets twice as much around a full minute.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from flask import Flask, Response, g
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from api.settings import ApiSettings
from shared.errors import StorageQuotaExceeded, TooManyRequests
from shared.jobs import TenantId
from shared.store import Quotas

#: For so long, in seconds, what was found counts: a quota that is set works within it.
_FRESH_S = 2.0
#: And so many times what asking took.
_PAUSE_PER_LOOK = 50
#: Tenants that are remembered.
_REMEMBERED = 10_000
_WINDOW_S = 60


@dataclass(kw_only=True, slots=True)
class _Known:
    quotas: Quotas
    #: Kept at the last look, and announced since; counted only where there is a quota.
    stored: int
    until: float


class QuotaKeeper:
    """Counts and refuses. Thread-safe."""

    def __init__(
        self,
        settings: ApiSettings,
        *,
        quotas: Callable[[TenantId], Quotas],
        stored_bytes: Callable[[TenantId], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what everybody may have, and whom to ask.

        Args:
            quotas: `JobStore.quotas`: what a tenant may have instead.
            stored_bytes: `JobStore.stored_bytes`.
            clock: seconds.
        """
        self._settings = settings
        self._ask_quotas = quotas
        self._ask_stored = stored_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[TenantId, _Known] = {}

    def of(self, owner: TenantId) -> Quotas:
        """Return what a tenant may have, the service's own limits filled in; 0: as much as it likes.

        Raises:
            StoreUnavailable: nobody knows.
        """
        return self._look(owner).quotas

    def take_request(self, owner: TenantId) -> None:
        """Count one request.

        Raises:
            TooManyRequests: a tenant sends more than it may.
        """
        self._take("requests", owner, self.of(owner).requests_per_minute or 0, 1)

    def take_jobs(self, owner: TenantId, count: int) -> None:
        """Count jobs that are submitted, accepted or not.

        Raises:
            TooManyRequests: a tenant submits more than it may; none of them is counted.
        """
        self._take("jobs", owner, self.of(owner).jobs_per_minute or 0, count)

    def require_storage(self, owner: TenantId, announced: int | None) -> None:
        """Return when a tenant may bring so many bytes; a look that is two seconds old decides.

        Raises:
            StorageQuotaExceeded: it keeps too much already.
        """
        known = self._look(owner)
        most = known.quotas.stored_bytes or 0
        with self._lock:
            if most and known.stored + (announced or 1) > most:
                raise StorageQuotaExceeded(
                    f"{known.stored:,} bytes are kept for you, this brings {announced or 0:,}, and {most:,} "
                    "is your quota; delete jobs and files that you do not need"
                )
            known.stored += announced or 0

    def policies(self, owner: TenantId) -> Iterator[tuple[str, int, int, int]]:
        """Yield name, amount a minute, what is left, and the seconds until more is, of each known rate."""
        with self._lock:
            known = self._known.get(owner)
        found = Quotas() if known is None else known.quotas
        for name, amount in (("requests", found.requests_per_minute), ("jobs", found.jobs_per_minute)):
            if amount:
                window = self._limiter.get_window_stats(RateLimitItemPerMinute(amount), name, owner)
                left_s = math.ceil(max(0.0, window.reset_time - time.time()))
                yield name, amount, max(0, window.remaining), min(left_s, _WINDOW_S)

    def _take(self, name: str, owner: TenantId, amount: int, count: int) -> None:
        if not amount or not count:
            return
        if count > amount:
            raise TooManyRequests(
                f"{count:,} {name} at once, where {amount:,} a minute are allowed; send fewer",
                retry_after_s=_WINDOW_S,
            )
        item = RateLimitItemPerMinute(amount)
        if not self._limiter.hit(item, name, owner, cost=count):
            window = self._limiter.get_window_stats(item, name, owner)
            left_s = max(1, math.ceil(window.reset_time - time.time()))
            raise TooManyRequests(
                f"more than {amount:,} {name} a minute; send this again after `Retry-After`",
                retry_after_s=min(left_s, _WINDOW_S),
            )

    @cached_property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        # Made with the first rate that somebody has: it keeps a thread.
        return SlidingWindowCounterRateLimiter(MemoryStorage())

    def _look(self, owner: TenantId) -> _Known:
        with self._lock:
            known = self._known.get(owner)
        if known is not None and self._clock() < known.until:
            return known
        began = self._clock()
        found = self._filled(self._ask_quotas(owner))
        stored = self._ask_stored(owner) if found.stored_bytes else 0
        now = self._clock()
        fresh = _Known(
            quotas=found, stored=stored, until=now + max(_FRESH_S, (now - began) * _PAUSE_PER_LOOK)
        )
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[owner] = fresh
        return fresh

    def _filled(self, own: Quotas) -> Quotas:
        ours = self._settings
        return Quotas(
            requests_per_minute=_first(own.requests_per_minute, ours.requests_per_minute),
            jobs_per_minute=_first(own.jobs_per_minute, ours.jobs_per_minute),
            queued_jobs=_first(own.queued_jobs, ours.max_queued_jobs),
            stored_bytes=_first(own.stored_bytes, ours.max_stored_bytes),
        )


def install(app: Flask, keeper: QuotaKeeper) -> None:
    """Count every request of somebody, and tell how many are left (`RateLimit`, draft-ietf-httpapi-11)."""

    def count() -> None:
        if (found := g.get("caller")) is not None:
            keeper.take_request(found.tenant)

    def tell(response: Response) -> Response:
        found = g.get("caller")
        rates = [] if found is None else list(keeper.policies(found.tenant))
        if rates:
            policy = (f'"{name}";q={amount};w={_WINDOW_S}' for name, amount, _, _ in rates)
            response.headers["RateLimit-Policy"] = ", ".join(policy)
            left = (f'"{name}";r={left};t={left_s}' for name, _, left, left_s in rates)
            response.headers["RateLimit"] = ", ".join(left)
        return response

    app.before_request(count)
    app.after_request(tell)


def _first(own: int | None, ours: int) -> int:
    return ours if own is None else own

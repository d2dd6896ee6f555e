"""Telling others of jobs' ends: a message that is due is sent until it is taken, or given up."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import structlog
from standardwebhooks import Webhook

from shared.errors import StoreUnavailable, WebhookRefused
from shared.jobs import Json
from shared.signing import Signer
from shared.store import Delivery, JobStore, Try, WebhookId
from worker.posting import Headers, Poster, PostFailed
from worker.targets import Targets

#: Messages on their way at once.
_SENDERS = 16
#: Of those, to one host: a slow one holds up no other.
_PER_LANE = 4
#: An endpoint at which every try failed for so long is turned off.
_HOPELESS = timedelta(days=5)
#: In tries' time; then a message is taken for lost. A name's address may take one, the answer another.
_LEASE_TRIES = 3
#: The endpoint says that it is gone for good.
_GONE = 410
#: How soon it is noticed that the worker stops.
_LOOK_S = 0.5

log = structlog.get_logger()


def headers_of(delivery: Delivery, signer: Signer) -> Headers:
    """Return the headers of one try at a message, by Standard Webhooks, signed with each good secret."""
    name = delivery.webhook or f"tenant:{delivery.tenant}"
    signatures = (
        Webhook(signer.secret(name, rotation)).sign(delivery.id, delivery.taken_at, delivery.body)
        for rotation in delivery.rotations
    )
    return {
        "content-type": "application/json",
        "user-agent": "iconotext",
        "webhook-id": delivery.id,
        # The database's clock: this machine's may be wrong, and a receiver refuses what seems old.
        "webhook-timestamp": str(int(delivery.taken_at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


class Notifier:
    """Sends what is due. Every worker does, each message is with one of them at a time."""

    def __init__(
        self,
        store: JobStore,
        targets: Targets,
        poster: Poster,
        signer: Signer,
        *,
        timeout: timedelta,
        waits: Sequence[timedelta],
    ) -> None:
        """Take the store and the rules.

        Args:
            targets: where messages may go.
            signer: makes the secrets that they are signed with.
            timeout: the poster's.
            waits: before the second try, the third and so on; a message whose last try failed is given up.
        """
        self._store = store
        self._targets = targets
        self._poster = poster
        self._signer = signer
        self._timeout = timeout
        self._waits = tuple(waits)
        self._stopping = threading.Event()
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="notifier")
        self._free = threading.Semaphore(_SENDERS)
        #: Guards the lanes.
        self._lock = threading.Lock()
        #: Messages on their way, by lane.
        self._lanes: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def stop(self) -> None:
        """Take nothing more; what is on its way goes on."""
        self._stopping.set()

    def close(self) -> None:
        """Take nothing more, and wait for what is on its way."""
        self.stop()
        self._senders.shutdown(wait=True)

    def as_json(self) -> Json:
        """Return how many tries succeeded and failed so far, and how many endpoints were turned off."""
        with self._lock:
            return {name: self._counts[name] for name in ("delivered", "failed", "disabled")}

    def round(self) -> None:
        """Send all that is due and may go; a lane that was full wakes the next round."""
        while self._store.has_deliveries(self._full()) and (free := self._acquire()):
            taken: list[Delivery] = []
            try:
                taken = self._take(free)
            finally:
                for _ in range(free - len(taken)):
                    self._free.release()
            for delivery in taken:
                self._senders.submit(self._run, delivery)
            if not taken:
                return

    def _take(self, most: int) -> list[Delivery]:
        with self._lock:
            under_way = dict(self._lanes)
        lease = self._timeout * _LEASE_TRIES
        taken = self._store.claim_deliveries(most, lease, under_way, _PER_LANE)
        with self._lock:
            self._lanes.update(delivery.lane for delivery in taken)
        return taken

    def _full(self) -> list[str]:
        with self._lock:
            return [lane for lane, count in self._lanes.items() if count >= _PER_LANE]

    def _leave(self, lane: str) -> None:
        with self._lock:
            was_full = self._lanes[lane] >= _PER_LANE
            self._lanes[lane] -= 1
            if not self._lanes[lane]:
                del self._lanes[lane]
        if was_full:
            self._store.booked.set()

    def _acquire(self) -> int:
        """Return how many senders are free, as soon as one is; 0 when the worker stops."""
        while not self._stopping.is_set():
            if self._free.acquire(timeout=_LOOK_S):
                count = 1
                while self._free.acquire(blocking=False):
                    count += 1
                return count
        return 0

    def _run(self, delivery: Delivery) -> None:
        try:
            self._settle(delivery, self._try(delivery))
        except StoreUnavailable as error:
            log.warning(
                "cannot note a try, the message comes again", message=delivery.id, reason=error.message
            )
        except Exception:
            log.exception("a try ended with a bug, the message comes again", message=delivery.id)
        finally:
            self._free.release()
            self._leave(delivery.lane)

    def _try(self, delivery: Delivery) -> Try:
        began = time.monotonic()
        status, error = self._send(delivery)
        return Try(status=status, error=error, ms=round((time.monotonic() - began) * 1000))

    def _send(self, delivery: Delivery) -> tuple[int | None, str | None]:
        """Return the answer's status, if one came, and what is wrong, if anything is."""
        try:
            target = self._targets.find(delivery.url)
            status = self._poster.post(target, delivery.body.encode(), headers_of(delivery, self._signer))
        except WebhookRefused as error:
            return None, error.message
        except PostFailed as error:
            return None, str(error)
        except OSError as error:
            return None, f"the host's address cannot be found: {error.strerror or error}"
        return status, _fault_in(status)

    def _settle(self, delivery: Delivery, done: Try) -> None:
        with self._lock:
            self._counts["failed" if done.error else "delivered"] += 1
        if done.error is None:
            self._store.delivered(delivery.id, done)
            return
        wait = None
        if done.status != _GONE and delivery.attempts < len(self._waits):
            # Not all that one endpoint missed at the same moment.
            wait = self._waits[delivery.attempts] * random.uniform(0.8, 1.2)  # noqa: S311  # guards nothing
        log.info(
            "not delivered",
            message=delivery.id,
            job=delivery.job_id,
            attempt=delivery.attempts + 1,
            reason=done.error,
            again_in_s=None if wait is None else round(wait.total_seconds()),
        )
        failing = self._store.not_delivered(delivery.id, done, wait)
        if delivery.webhook is not None and done.status == _GONE:
            self._disable(delivery, "it answered 410: the endpoint is gone")
        elif delivery.webhook is not None and failing >= _HOPELESS:
            self._disable(delivery, f"every try failed for {_HOPELESS.days} days; the last one: {done.error}")

    def _disable(self, delivery: Delivery, because: str) -> None:
        webhook = WebhookId(delivery.webhook or "")
        if self._store.disable_webhook(webhook, because):
            with self._lock:
                self._counts["disabled"] += 1
            log.warning("a webhook is turned off", webhook=webhook, tenant=delivery.tenant, reason=because)


def _fault_in(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"it answered {status}: redirects are not followed, give the URL that they lead to"
    if status == _GONE:
        return "it answered 410: the endpoint is gone"
    return f"it answered {status}; 200 to 299 says that the message was taken"

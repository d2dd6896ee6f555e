"""The worker's composition root: `celery -A worker.app worker -P threads`, or `python -m worker`."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import cache, partial
from typing import Any

import httpx
import structlog
from celery import Celery, bootsteps, current_task, signals

from shared import queue, telemetry
from shared.blobs import BlobStore
from shared.database import Database
from shared.errors import IconotextError, QueueUnavailable, StoreUnavailable, UrlRefused, WebhookRefused
from shared.failpoints import Failpoints, switched_on
from shared.jobs import Json, WorkerId
from shared.manifests import read_manifest
from shared.schemas import catalogue
from shared.settings import read
from shared.signing import Signer, signer_of
from shared.store import JobStore
from shared.transport import HINT, REQUEST
from worker.engine import BatchLimits, Engine, Residency
from worker.engine.devices import choose_device, model_budget_bytes, resident_bytes
from worker.fetch import Fetcher
from worker.heartbeat import Heartbeat
from worker.machine import cores, memory_limit_bytes
from worker.media import Decoder
from worker.media.films import Films
from worker.models.offer import offer
from worker.models.pulling import pull_missing
from worker.models.registry import Profile, load_profile
from worker.models.rehearsal import rehearse
from worker.neighbours import KEY, Neighbours, this_process
from worker.notify import Notifier
from worker.periodic import Periodic
from worker.poller import Poller
from worker.posting import Poster
from worker.reconciler import Reconciler
from worker.recycling import Recycler
from worker.runner import Runner
from worker.settings import WorkerSettings
from worker.suspects import Suspects
from worker.sweeping import Sweeper
from worker.targets import Resolver, Targets
from worker.tasks import pipelines

#: After the drain, to stop everything; past it, whatever hangs (a frozen database, say) is left behind.
_GOODBYES = timedelta(seconds=15)
#: To the database, per process: a job holds one for a few milliseconds, and servers count them.
_CONNECTIONS = 8
#: Between two looks at the workers beside this one.
_NEIGHBOUR_LOOK = timedelta(seconds=1)
#: Between two looks at what is to be told; what this process has to tell, it tells at once.
_NOTIFY_LOOK = timedelta(seconds=1)
#: For the address of a name: resolvers ask again for a while when a question was lost.
_ADDRESS_PATIENCE = timedelta(seconds=10)
#: Between two looks at this process's memory.
_MEMORY_LOOK = timedelta(seconds=5)

log = structlog.get_logger()


class Service:
    """Everything one worker process holds, from the models to the threads that keep its leases."""

    def __init__(self, settings: WorkerSettings, celery: Celery) -> None:
        """Load and warm the models; nothing is claimed before `start`.

        Raises:
            BadConfiguration: this profile cannot be loaded here, or not a single task's models are here.
        """
        self._settings = settings
        faults: Failpoints = celery.failpoints
        self._worker = WorkerId(f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
        self._device = choose_device(settings.device)
        self._profile = self._load_profile()
        residency = Residency(
            self._profile.available,
            budget_bytes=settings.device_memory_bytes or model_budget_bytes(self._device),
            resident_bytes=partial(resident_bytes, self._device),
            expected_bytes=self._profile.expected_bytes(),
            missing=self._profile.missing,
        )
        self._offer = offer(self._profile, catalogue(), settings.pools, residency.preload())
        self._database = Database(
            settings.resolved_database_url, application="iconotext-worker", pool_size=_CONNECTIONS
        )
        self._store = JobStore(self._database, lease=settings.lease, max_attempts=settings.max_attempts)
        blobs = BlobStore(settings.resolved_blob_url)
        self._engine = Engine(
            residency,
            device=self._device,
            limits=BatchLimits(
                max_items=settings.max_batch,
                max_pixels=settings.batch_pixels,
                max_wait=settings.batch_wait,
            ),
            on_fatal=_exit_on_lost_device,
            failpoints=faults,
        )
        self._decoder = Decoder(
            children=settings.decoders,
            memory_bytes=settings.decode_memory_bytes,
            seconds=settings.decode_time.total_seconds(),
            limits=settings.limits,
        )
        self._films = Films(
            children=settings.films,
            memory_bytes=settings.decode_memory_bytes,
            cpu_seconds=settings.film_time.total_seconds(),
            silence_s=settings.decode_time.total_seconds(),
            limits=settings.limits,
        )
        self._readers = ThreadPoolExecutor(settings.decoders, thread_name_prefix="reader")
        self._heartbeat = Heartbeat(
            self._store,
            self._worker,
            lease=settings.lease,
            interval=settings.resolved_heartbeat,
            stuck_after=settings.stuck_after,
            device_progress=self._engine.last_progress,
            on_device=self._engine.is_running,
            announce=lambda: self._store.announce(self._worker, self._info()),
        )
        self.runner = Runner(
            worker=self._worker,
            pools=settings.pools,
            slots=settings.slots,
            store=self._store,
            blobs=blobs,
            engine=self._engine,
            decoder=self._decoder,
            films=self._films,
            heartbeat=self._heartbeat,
            readers=self._readers,
            schemas=catalogue(),
            pipelines=pipelines(),
            profile=self._profile.name,
            identities=self._offer.models,
            inline_result_bytes=settings.limits.inline_result_bytes,
            fetcher=_fetcher(settings) if settings.url_inputs else None,
            failpoints=faults,
        )
        self._hints = queue.Hints(celery, settings)
        reconciler = Reconciler(
            self._store,
            self._hints,
            self._worker,
            settings.reconcile,
            may_end_leases=self._heartbeat.is_steady,
        )
        sweeper = Sweeper(
            self._store,
            blobs,
            leads=lambda: reconciler.leads,
            grace=settings.blob_grace,
            retain_uploads=settings.retain_uploads,
        )
        self._poller = Poller(
            lambda: self._store.has_work(settings.pools),
            lambda: self.runner.drain(blocking=False),
            settings.slots,
        )
        # A worker unseen for so long has no lease left.
        # Who died may be this process's predecessor.
        at_once = threading.Event()
        at_once.set()
        neighbours = Neighbours(self._store, self._worker, seen_within=2 * settings.lease)
        self._process = this_process()
        self.recycler = Recycler(
            settings.recycle_bytes or _recycle_bytes(), resident_bytes=partial(resident_bytes, "cpu")
        )
        self._periodic = [
            Periodic("recycler", _MEMORY_LOOK, self.recycler.round),
            Periodic("reconciler", settings.reconcile, reconciler.round),
            # Not in the same thread: a blob store that hangs must not keep dead leases from being ended.
            Periodic("sweeper", settings.reconcile, sweeper.round),
            Periodic("poll", settings.poll, self._poller.round),
            Periodic("neighbours", _NEIGHBOUR_LOOK, neighbours.round, wake=at_once),
        ]
        self._signer: Signer | None = None
        self._notifier = self._make_notifier() if settings.webhooks else None
        if self._notifier is not None:
            self._periodic.append(
                Periodic("notify", _NOTIFY_LOOK, self._notifier.round, wake=self._store.booked)
            )
        suspects = Suspects(lambda: self._store.has_suspects(settings.pools), self.runner.run_suspects)
        #: Closed after the runner: it is in the middle of a job, as a slot is.
        self._suspects = Periodic("suspects", settings.poll, suspects.round)

    def _make_notifier(self) -> Notifier:
        timeout, waits = self._settings.webhook_timeout, self._settings.webhook_waits
        poster = Poster(httpx.create_ssl_context(), timeout)
        signer = self._signer = signer_of(self._settings)
        targets = webhook_targets(self._settings)
        return Notifier(self._store, targets, poster, signer, timeout=timeout, waits=waits)

    def _load_profile(self) -> Profile:
        settings, cache_dir, threads = self._settings, self._settings.resolved_cache_dir, cores()
        if settings.pull_models:
            pull_missing(read_manifest(settings.profile, settings.manifest), settings.pools)
        rehearse(
            settings.profile,
            device=self._device,
            cache_dir=cache_dir,
            manifest=settings.manifest,
            runtime=settings.runtime,
            threads=threads,
        )
        return load_profile(
            settings.profile,
            device=self._device,
            cache_dir=cache_dir,
            manifest=settings.manifest,
            runtime=settings.runtime,
            threads=threads,
            pools=settings.pools,
        )

    def start(self) -> None:
        """Begin to take jobs, and say so."""
        self._engine.start()
        self._decoder.start()
        self._heartbeat.start()
        for thread in (*self._periodic, self._suspects):
            thread.start()
        # Connections open now, not with the first backlog: a worker needs no more than at its start.
        self._database.open_all()
        with suppress(QueueUnavailable):
            self._hints.ping()
        log.info("ready", worker=self._worker, **self._info())

    def close(self) -> None:
        """Take no more jobs, let those in flight end, hand back those that do not, and stop."""
        _exit_after(self._settings.drain + _GOODBYES)
        self.runner.stop()
        if self._notifier is not None:
            self._notifier.stop()
        for thread in self._periodic:
            thread.close()
        self.runner.close(self._settings.drain)
        if self._notifier is not None:
            self._notifier.close()
        self._poller.close()
        self._suspects.close()
        self._heartbeat.close()
        self._withdraw()
        self._engine.close()
        self._decoder.close()
        self._films.close()
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._hints.close()
        self._database.close()
        log.info("stopped", worker=self._worker)

    def _withdraw(self) -> None:
        try:
            self._store.withdraw(self._worker)
        except StoreUnavailable as error:
            log.warning("cannot say goodbye, the others will miss me in a while", reason=error.message)

    def _info(self) -> Json:
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pools": list(self._settings.pools),
            "slots": self._settings.slots,
            "profile": self._profile.name,
            "tasks": self._offer.tasks,
            "models": self._offer.models,
            "missing": self._offer.missing,
            "device": self._device,
            "memory_bytes": resident_bytes("cpu"),
            "engine": self._engine.stats().as_json(),
            # When that was counted, by a clock of this process's own: two announcements make a rate.
            "clock_s": time.monotonic(),
            "outcomes": self.runner.outcomes(),
            # Other secrets than the API's would sign what nobody can verify: it compares.
            "signs_as": self._signer.fingerprint if self._signer else None,
            "webhooks": self._notifier.as_json() if self._notifier else None,
            KEY: self._process.as_json() if self._process else None,
        }


def webhook_targets(settings: WorkerSettings) -> Targets:
    """Return where messages may go."""
    return Targets(
        private=settings.webhook_private,
        ports=settings.url_ports,
        resolver=Resolver(min(settings.webhook_timeout, _ADDRESS_PATIENCE)),
        refusal=WebhookRefused,
    )


def url_targets(settings: WorkerSettings) -> Targets:
    """Return where pictures and films may come from."""
    return Targets(
        private=settings.url_private,
        ports=settings.url_ports,
        # Not the one of the webhooks: names that nobody answers for hold up their own kind only.
        resolver=Resolver(min(settings.fetch_time, _ADDRESS_PATIENCE)),
        refusal=UrlRefused,
    )


def _fetcher(settings: WorkerSettings) -> Fetcher:
    return Fetcher(
        url_targets(settings),
        httpx.create_ssl_context(),
        settings.limits,
        image_time=settings.fetch_time,
        film_time=settings.fetch_film_time,
    )


def _recycle_bytes() -> int:
    """Return the mark at which a container's limit is near; without one, a mark that nothing passes."""
    limit = memory_limit_bytes()
    return sys.maxsize if limit is None else limit * 9 // 10


def _exit_on_lost_device(error: Exception) -> None:
    """End the process: its supervisor starts another, its jobs' leases end, other workers take them over."""
    log.error("the device is lost, this worker ends", exc_info=error)
    os._exit(os.EX_SOFTWARE)


def _exit_after(time_left: timedelta) -> None:
    """End the process by then, one way or another; a thread that waits for an answer cannot be stopped."""

    def leave() -> None:
        log.error("something hangs, this worker ends without it")
        os._exit(os.EX_SOFTWARE)

    timer = threading.Timer(time_left.total_seconds(), leave)
    timer.daemon = True
    timer.start()


class ServiceStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery ships no types
    """Starts the service before the consumer takes the first hint; stops it after the last."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._celery: Celery = parent.app

    def start(self, parent: Any) -> None:  # noqa: ARG002  # the bootstep's signature
        try:
            service = Service(self._celery.iconotext_settings, self._celery)
        except IconotextError as error:
            log.error("cannot start", code=error.code, reason=error.message)  # noqa: TRY400  # its words say enough
            raise SystemExit(2) from error
        service.start()
        self._celery.service = service

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        service, self._celery.service = self._celery.service, None
        if service is not None:
            service.close()
            self._celery.recycled = service.recycler.recycled

    terminate = stop


def create_app(settings: WorkerSettings | None = None) -> Celery:
    """Return the worker's Celery app; models load when its worker starts, not here.

    Raises:
        BadConfiguration: an `ICONOTEXT_*` variable holds a value that cannot be used, or failpoints are
            switched on where real work is done.
    """
    settings = settings or read(WorkerSettings)
    failpoints = switched_on(settings)
    telemetry.configure(settings.log_level, settings.log_format, "worker")
    app = queue.make_celery(settings)
    app.conf.update(
        task_queues=[queue.binding(pool) for pool in settings.pools],
        worker_concurrency=settings.slots,
        worker_pool="threads",
    )
    app.iconotext_settings = settings
    app.failpoints = failpoints
    app.service = None
    app.recycled = False
    app.steps["worker"].add(ServiceStep)

    def hint(job_id: str) -> None:
        """Somebody says there is work: take what is best, until nothing is left."""
        if app.service is None:
            return
        log.debug("hint", hinted=job_id, request_id=current_task.request.get(REQUEST))
        try:
            app.service.runner.drain()
        except Exception as error:  # noqa: BLE001  # a MemoryError that leaves a task stops a threads pool for good
            log.warning("cannot claim", error=str(error))

    def claim_nothing_more(**_: object) -> None:
        """Let the loops inside running hints end with their present job, as soon as the signal arrives."""
        if app.service is not None:
            app.service.runner.stop()

    def keep_our_logging(**_: object) -> None:
        """Somebody listens, so Celery leaves the logs, and the level that the operator set, as they are."""

    app.task(name=HINT)(hint)
    signals.worker_shutting_down.connect(claim_nothing_more, weak=False)
    signals.setup_logging.connect(keep_our_logging, weak=False)
    return app


@cache
def _built() -> Celery:
    return create_app()


def __getattr__(name: str) -> Celery:
    """Build `app` when Celery's command line asks for it: importing this module reads no setting."""
    if name == "app":
        return _built()
    raise AttributeError(name)

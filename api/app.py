"""The composition root of the HTTP side: `gunicorn 'api.app:create_app()'`."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import NoReturn

from flask import Flask, Response, request
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError
from werkzeug.exceptions import NotFound as UnknownPath
from werkzeug.routing import BaseConverter

from api import (
    auth,
    batches,
    deliveries,
    errors,
    files,
    heads,
    health,
    jobs,
    journal,
    limits,
    quotas,
    scopes,
    streams,
    submissions,
    system,
    tasks,
    web,
    webhooks,
)
from api.admission import Admission
from api.caching import Recall
from api.events import Watcher
from api.fleet import look
from api.measures import Measures
from api.rates import Forecast
from api.reserve import Reserve
from api.services import Hinter, Services, extensions
from api.settings import ApiSettings
from shared import telemetry
from shared.blobs import BlobStore
from shared.database import Database
from shared.failpoints import switched_on
from shared.manifests import read_manifest
from shared.queue import Hints, make_celery
from shared.schemas import catalogue
from shared.settings import read
from shared.signing import signer_of
from shared.store import JobStore

_SUMMARY = """\
Durable, batched, cross-modal jobs over images and text. Submit a job, keep its id, poll it; what was answered
with 202 is never lost. Every error is an RFC 9457 problem whose `code` never changes its meaning, and every
answer carries `X-Request-Id`. A method that a path does not have is answered 405, with `Allow`; what is no
HTTP, or too long or too slow for it, is refused before any route: 400, 408, 414, 431."""

#: Threads that waiting requests may not take: so many at least, and one in so many.
_FREE_THREADS = 4
_FREE_SHARE = 16
#: To the database, per process; a request that waits for a job holds none.
_CONNECTIONS = 8


class _JobIdConverter(BaseConverter):
    regex = "job_[0-9a-f]{32}"


class _FileIdConverter(BaseConverter):
    regex = "[0-9a-f]{64}"


class _WebhookIdConverter(BaseConverter):
    regex = "wh_[0-9a-f]{32}"


class _MessageIdConverter(BaseConverter):
    regex = "msg_[0-9a-f]{32}"


def create_app(
    settings: ApiSettings | None = None, *, hints: Callable[[ApiSettings], Hinter] | None = None
) -> Flask:
    """Put the HTTP side together.

    Args:
        settings: read from the environment when absent, and then logs are configured as well.
        hints: how to open the queue; Celery on Redis when absent.

    Raises:
        BadConfiguration: a setting cannot be used, or would serve the network without keys.
    """
    if settings is None:
        settings = read(ApiSettings)
        telemetry.configure(settings.log_level, settings.log_format, "api")
    auth.require_safe_bind(settings)
    app = OpenAPI(
        "api",
        info=Info(title="Iconotext", version="1", description=_SUMMARY),
        doc_ui=False,
        static_folder=None,
        validation_error_callback=_refuse_parameters,
    )
    house = _compose(settings, hints or _celery_hints)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's own provider has it
    app.extensions.update(extensions(house))
    _install_routes(app)
    _install_rules(app, house)
    return app


def _compose(settings: ApiSettings, open_hints: Callable[[ApiSettings], Hinter]) -> Services:
    """Open what the routes work with, and see to its end.

    Raises:
        BadConfiguration: the profile's manifest cannot be used, or failpoints are switched on where real work
            is done.
    """
    failpoints = switched_on(settings)
    manifest = read_manifest(settings.profile, settings.manifest)
    pools = {name: manifest.pool_of(task.needs) for name, task in catalogue().items()}
    database = Database(
        settings.resolved_database_url,
        application="iconotext-api",
        pool_size=min(settings.api_threads, _CONNECTIONS),
    )
    store = JobStore(database, lease=settings.lease, max_attempts=settings.max_attempts)
    free = max(_FREE_THREADS, settings.api_threads // _FREE_SHARE)
    seats = max(1, settings.api_threads - free)
    watcher = Watcher(store, interval=settings.api_watch_interval, seats=seats)
    hints = open_hints(settings)
    blobs = BlobStore(settings.resolved_blob_url)
    keeper = quotas.QuotaKeeper(settings, quotas=store.quotas, stored_bytes=store.stored_bytes)
    admission = Admission(
        settings,
        load=store.queued_load,
        workers=lambda: store.workers(seen_within=settings.lease),
        queued_jobs=lambda owner: keeper.of(owner).queued_jobs,
    )

    def close() -> None:
        watcher.close()
        hints.close()
        database.close()

    atexit.register(close)
    return Services(
        settings=settings,
        store=store,
        blobs=blobs,
        hints=hints,
        watcher=watcher,
        recall=Recall(store, settings.lease),
        measures=Measures(lambda: look(store, settings.lease, pools), admission.waiting),
        admission=admission,
        forecast=Forecast(lambda: store.workers(seen_within=settings.lease)),
        quotas=keeper,
        reserve=Reserve(
            bytes=settings.disk_reserve_bytes, blobs=blobs.free_bytes, database=database.free_bytes
        ),
        signer=signer_of(settings),
        failpoints=failpoints,
        manifest=manifest,
        pools=pools,
        close=close,
    )


def _celery_hints(settings: ApiSettings) -> Hinter:
    return Hints(make_celery(settings), settings)


def _install_routes(app: OpenAPI) -> None:
    # Two slashes are not one: such a path is unknown, like any other.
    app.url_map.merge_slashes = False
    app.url_map.converters.update(
        job=_JobIdConverter, file=_FileIdConverter, webhook=_WebhookIdConverter, message=_MessageIdConverter
    )
    for room in (jobs, streams, batches, deliveries, webhooks, files, heads, tasks, system, health):
        app.register_api(room.routes)
    app.register_blueprint(web.routes)
    scopes.require_complete(app)


def _install_rules(app: Flask, house: Services) -> None:
    # First, so that what the guard refuses is counted and written down too.
    house.measures.install(app)
    journal.install(app)
    errors.install(app)
    limits.cap_bodies(app, house.settings.limits)
    limits.take_what_is_left(app)
    app.before_request(_require_one_slash)
    doorkeeper = auth.Doorkeeper(house.store.find_key, needs_keys=auth.needs_keys(house.settings))
    auth.guard(app, house.settings, doorkeeper)
    quotas.install(app, house.quotas)
    app.after_request(_label)
    app.after_request(web.add_security_headers)


def _require_one_slash() -> None:
    # Werkzeug drops those in front; a proxy that keeps callers from a path knows that path alone.
    if request.environ["PATH_INFO"].startswith("//"):
        raise UnknownPath


def _label(response: Response) -> Response:
    response.headers["X-Request-Id"] = errors.request_id()
    return response


def _refuse_parameters(error: ValidationError) -> NoReturn:
    raise errors.refusal(submissions.faults(error, request.args.to_dict())) from error

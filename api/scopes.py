"""What each route asks of a key: the one table, and a route that it lacks stops the start."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask

from shared.keys import Scope

#: By endpoint, `blueprint.function`; None: whoever reaches the service may, it holds nothing of anybody.
SCOPES: Mapping[str, Scope | None] = {
    "batches.create_jobs": Scope.SUBMIT,
    "batches.get_jobs": Scope.READ,
    "deliveries.get_deliveries": Scope.READ,
    "files.create_file": Scope.SUBMIT,
    "files.delete_file": Scope.SUBMIT,
    "files.get_file": Scope.READ,
    "files.get_file_content": Scope.READ,
    "heads.delete_head": Scope.SUBMIT,
    "heads.list_heads": Scope.READ,
    "health.livez": None,
    "health.readyz": None,
    "jobs.cancel_job": Scope.SUBMIT,
    "jobs.create_job": Scope.SUBMIT,
    "jobs.delete_job": Scope.SUBMIT,
    "jobs.get_artifact": Scope.READ,
    "jobs.get_job": Scope.READ,
    "jobs.list_jobs": Scope.READ,
    "jobs.retry_job": Scope.SUBMIT,
    "streams.get_job_events": Scope.READ,
    "system.get_metrics": Scope.ADMIN,
    "system.get_system": Scope.ADMIN,
    "tasks.list_tasks": Scope.READ,
    "web.docs": None,
    "web.openapi": None,
    "web.page": None,
    "web.reader": None,
    "web.static": None,
    "webhooks.create_webhook": Scope.SUBMIT,
    "webhooks.delete_webhook": Scope.SUBMIT,
    "webhooks.get_webhook": Scope.READ,
    "webhooks.get_webhook_secret": Scope.SUBMIT,
    "webhooks.get_default_secret": Scope.SUBMIT,
    "webhooks.list_webhook_deliveries": Scope.READ,
    "webhooks.list_webhooks": Scope.READ,
    "webhooks.redeliver": Scope.SUBMIT,
    "webhooks.rotate_webhook_secret": Scope.SUBMIT,
    "webhooks.test_webhook": Scope.SUBMIT,
    "webhooks.update_webhook": Scope.SUBMIT,
}


def require_complete(app: Flask) -> None:
    """Return when every route of an app has its row.

    Raises:
        LookupError: one has none; nobody decided who may call it.
    """
    strays = sorted({rule.endpoint for rule in app.url_map.iter_rules()} - SCOPES.keys())
    if strays:
        raise LookupError(f"no scope is set in api/scopes.py for {', '.join(strays)}")

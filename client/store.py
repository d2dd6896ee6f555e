"""The service's own database, for the few commands that work on it without the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from client.errors import RequestRefused, StackFailed

if TYPE_CHECKING:
    from shared.store import JobStore


@contextmanager
def opened_store() -> Iterator[JobStore]:
    """Open the store that `ICONOTEXT_DATABASE_URL` or `ICONOTEXT_DATA_DIR` names, brought up to date.

    Raises:
        StackFailed: the service is not installed here, or the database cannot be reached.
        RequestRefused: what was asked for does not exist.
    """
    try:
        from shared import telemetry  # noqa: PLC0415  # `pip install iconotext` has the client alone
        from shared.database import Database, upgrade  # noqa: PLC0415
        from shared.errors import CallerError, IconotextError  # noqa: PLC0415
        from shared.settings import SharedSettings, read  # noqa: PLC0415
        from shared.store import JobStore  # noqa: PLC0415
    except ImportError as error:
        raise StackFailed(
            f"the service is not installed here ({error}); pip install 'iconotext[all]'"
        ) from error
    telemetry.configure("WARNING", "human", "client")
    try:
        settings = read(SharedSettings)
        upgrade(settings.resolved_database_url)
        database = Database(settings.resolved_database_url, application="iconotext-keys", pool_size=1)
        try:
            yield JobStore(database, lease=settings.lease, max_attempts=settings.max_attempts)
        finally:
            database.close()
    except CallerError as error:
        raise RequestRefused(error.message, code=error.code) from error
    except IconotextError as error:
        raise StackFailed(error.message) from error

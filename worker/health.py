"""`python -m worker.health`: status 0 when a worker of this host lives, for a container's health check."""

from __future__ import annotations

import socket
import sys

from shared.database import Database
from shared.errors import IconotextError
from shared.settings import SharedSettings, read
from shared.store import JobStore


def is_alive(store: JobStore, host: str, settings: SharedSettings) -> bool:
    """Return whether a worker of the host announced itself within a lease, as one that lives does thrice."""
    return any(info.get("host") == host for _, info in store.workers(seen_within=settings.lease))


def main() -> None:
    """Look, say what was seen, and end with status 0 or 1."""
    try:
        settings = read(SharedSettings)
        database = Database(settings.resolved_database_url, application="iconotext-health", pool_size=1)
        store = JobStore(database, lease=settings.lease, max_attempts=settings.max_attempts)
        alive = is_alive(store, socket.gethostname(), settings)
    except IconotextError as error:
        sys.exit(error.message)
    sys.exit(0 if alive else "no worker of this host announced itself within a lease")


if __name__ == "__main__":
    main()

"""`python -m worker`: one worker process, set by `ICONOTEXT_*` variables, until SIGTERM."""

from __future__ import annotations

import sys

from shared.errors import IconotextError
from worker.app import create_app
from worker.recycling import RECYCLED


def main() -> None:
    """Run a worker until it is told to stop.

    Exit status 2: it cannot start; 75 (EX_TEMPFAIL): it ended itself to make room for a fresh one.
    """
    try:
        app = create_app()
        app.worker_main(
            ["worker", "--pool=threads", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        )
    except IconotextError as error:
        sys.exit(error.message)
    if app.recycled:
        sys.exit(RECYCLED)


if __name__ == "__main__":
    main()

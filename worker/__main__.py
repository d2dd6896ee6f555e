"""`python -m worker`: one worker process, set by `ICONOTEXT_*` variables, until SIGTERM."""

from __future__ import annotations

import sys

from shared.errors import IconotextError
from worker.app import create_app


def main() -> None:
    """Run a worker until it is told to stop; status 2 when it cannot start."""
    try:
        app = create_app()
        app.worker_main(
            ["worker", "--pool=threads", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        )
    except IconotextError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()

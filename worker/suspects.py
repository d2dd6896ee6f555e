"""Finding the jobs that may have killed a worker, and having them run by themselves."""

from __future__ import annotations

from collections.abc import Callable

import structlog

log = structlog.get_logger()


class Suspects:
    """Jobs that were in flight when a worker died run with nothing beside them.

    They are claimed by nobody else: fifteen good jobs that were claimed together with a poisonous one would
    lose an attempt with it again, until none has any left.
    """

    def __init__(self, has_suspects: Callable[[], bool], run_suspects: Callable[[], int]) -> None:
        self._has_suspects = has_suspects
        self._run_suspects = run_suspects

    def round(self) -> None:
        """Run the suspects that wait, if any; then others have the process again."""
        if self._has_suspects() and (count := self._run_suspects()):
            log.warning("ran jobs of a worker that died, one by one", count=count)

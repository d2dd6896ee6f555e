"""Many inputs through one task, some of them at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from client.batches import Outcome
from client.models import File, Job, Options
from client.submissions import Submission
from client.waiting import Waiter

#: One input of many: a picture, or a text as `str`, or a whole input.
Given = TypeVar("Given", bound=Path | bytes | File | str | Mapping[str, Any])

#: Groups of jobs under way. While one waits for its last job, the others keep the workers busy.
_LANES = 4
#: Seconds after which a lane looks whether anybody still wants its results.
_LOOK_S = 1.0


def submission_of(task: str, given: Any, options: Options | None, fields: Mapping[str, Any]) -> Submission:
    """Return one input as a submission: a `str` is a text, a `Mapping` the input itself."""
    if isinstance(given, Mapping):
        return Submission(task, given, options=options, fields=fields)
    if isinstance(given, str):
        return Submission(task, texts=[given], options=options, fields=fields)
    return Submission(task, images=[given], options=options, fields=fields)


class Lanes:
    """Takes inputs through the service in groups, a few groups at a time."""

    def __init__(self, submit: Callable[[Sequence[Submission]], list[Outcome]], waiter: Waiter) -> None:
        self._submit = submit
        self._waiter = waiter
        self._unwanted = threading.Event()

    def run(
        self,
        inputs: Iterable[Given],
        make: Callable[[Given], Submission],
        *,
        in_flight: int,
        ordered: bool,
    ) -> Iterator[tuple[Given, Outcome]]:
        """Yield each input with its outcome. Inputs are taken in the caller's thread, and not far ahead."""
        lanes = min(_LANES, in_flight)
        source = iter(inputs)
        under_way: list[Future[list[tuple[Given, Outcome]]]] = []
        with ThreadPoolExecutor(lanes, thread_name_prefix="iconotext-map") as pool:
            try:
                while True:
                    while len(under_way) < lanes and (group := list(islice(source, in_flight // lanes))):
                        under_way.append(pool.submit(self._work, group, make))
                    if not under_way:
                        return
                    if ordered:
                        ended = under_way[0]
                    else:
                        ended = next(iter(wait(under_way, return_when=FIRST_COMPLETED).done))
                    under_way.remove(ended)
                    yield from ended.result()
            finally:
                self._unwanted.set()

    def _work(
        self, group: Sequence[Given], make: Callable[[Given], Submission]
    ) -> list[tuple[Given, Outcome]]:
        outcomes = self._submit([make(given) for given in group])
        ids = [outcome.id for outcome in outcomes if isinstance(outcome, Job) and not outcome.is_terminal]
        ended: dict[str, Job] = {}
        for jobs in self._waiter.rounds(ids, None, _LOOK_S):
            ended.update((job.id, job) for job in jobs)
            if self._unwanted.is_set():
                break
        return [
            (given, ended.get(outcome.id, outcome) if isinstance(outcome, Job) else outcome)
            for given, outcome in zip(group, outcomes, strict=True)
        ]

"""Many inputs through one task, some of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from client.batches import Outcome
from client.flows import Await, Begin, Emit, Flow, Stream
from client.models import File, Job, Options
from client.submissions import Submission
from client.waiting import ROUND_S, Waiter

#: One input of many: a picture, or a text as `str`, or a whole input.
Given = TypeVar("Given", bound=Path | bytes | File | str | Mapping[str, Any])

#: Groups of jobs under way. While one waits for its last job, the others keep the workers busy.
_LANES = 4


def submission_of(task: str, given: Any, options: Options | None, fields: Mapping[str, Any]) -> Submission:
    """Return one input as a submission: a `str` is a text, a `Mapping` the input itself."""
    if isinstance(given, Mapping):
        return Submission(task, given, options=options, fields=fields)
    if isinstance(given, str):
        return Submission(task, texts=[given], options=options, fields=fields)
    return Submission(task, images=[given], options=options, fields=fields)


class Lanes(Generic[Given]):
    """Takes inputs through the service in groups, a few groups at a time."""

    def __init__(
        self,
        submit: Callable[[Sequence[Submission]], Flow[list[Outcome]]],
        waiter: Waiter,
        make: Callable[[Given], Submission],
    ) -> None:
        self._submit = submit
        self._waiter = waiter
        self._make = make
        self._is_wanted = True

    def run(self, inputs: Iterable[Given], *, in_flight: int, ordered: bool) -> Stream[tuple[Given, Outcome]]:
        """Yield each input with its outcome. Inputs are taken where they are iterated, and not far ahead."""
        lanes = min(_LANES, in_flight)
        source = iter(inputs)
        under_way: list[Future[list[tuple[Given, Outcome]]]] = []
        try:
            while True:
                while len(under_way) < lanes and (group := list(islice(source, in_flight // lanes))):
                    under_way.append((yield Begin(self._work(group))))
                if not under_way:
                    return
                ended = yield Await(under_way[:1] if ordered else list(under_way))
                under_way.remove(ended)
                for done in ended.result():
                    yield Emit(done)
        finally:
            self._is_wanted = False

    def _work(self, group: Sequence[Given]) -> Flow[list[tuple[Given, Outcome]]]:
        outcomes = yield from self._submit([self._make(given) for given in group])
        ids = [outcome.id for outcome in outcomes if isinstance(outcome, Job) and not outcome.is_terminal]
        ended: dict[str, Job] = {}
        # A round is also how soon a lane sees that nobody wants its results any more.
        rounds = self._waiter.rounds(ids, None, ROUND_S)
        while rounds.are_left and self._is_wanted:
            ended.update((job.id, job) for job in (yield from rounds.next()))
        return [
            (given, ended.get(outcome.id, outcome) if isinstance(outcome, Job) else outcome)
            for given, outcome in zip(group, outcomes, strict=True)
        ]

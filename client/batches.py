"""Many submissions in few requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from client.answers import read, refusal
from client.catalogue import Catalogue
from client.errors import PartlySubmitted, RequestRefused, ServiceUnreachable
from client.flows import Flow
from client.models import Job, Value
from client.submissions import Envelope, Submission
from client.transport import Transport

#: What became of one submission.
Outcome = Job | RequestRefused

#: A request refused so may be good but for one of its submissions: its length, or a value that the
#: service's JSON has no room for.
_FOR_ITS_CONTENT = frozenset({400, 413, 422})


class _Entry(Value):
    status: int
    job: Job | None = None
    problem: dict[str, Any] | None = None


class _Batch(Value):
    jobs: list[_Entry]


class Batch:
    """A list of submissions on its way."""

    def __init__(self, transport: Transport, catalogue: Catalogue) -> None:
        self._transport = transport
        self._catalogue = catalogue
        self._outcomes: dict[int, Outcome] = {}

    def send(self, submissions: Sequence[Submission]) -> Flow[list[Outcome]]:
        """Return what became of each, in order.

        Raises:
            PartlySubmitted: the service went away after it had answered for some.
            ServiceUnreachable, RequestRefused: before it had answered for any.
        """
        try:
            yield from self._send(dict(enumerate(submissions)))
        except (ServiceUnreachable, RequestRefused) as error:
            if 0 not in self._outcomes:
                raise
            raise PartlySubmitted(self._first_outcomes(), len(submissions), error) from error
        return [self._outcomes[number] for number in range(len(submissions))]

    def _send(self, submissions: Mapping[int, Submission]) -> Flow[None]:
        group: dict[int, Submission] = {}
        envelope = Envelope()
        for number, submission in submissions.items():
            if not (yield from self._put(number, submission, group, envelope)):
                yield from self._post(group, envelope)
                group, envelope = {}, Envelope()
                yield from self._put(number, submission, group, envelope)
        if group:
            yield from self._post(group, envelope)

    def _put(
        self, number: int, submission: Submission, group: dict[int, Submission], envelope: Envelope
    ) -> Flow[bool]:
        """Put a submission into the envelope; False: no room. One that is refused already needs none."""
        try:
            fits = yield from envelope.put((yield from self._catalogue.body(submission)))
        except RequestRefused as refused:
            self._outcomes[number] = refused
            return True
        if fits:
            group[number] = submission
        return fits

    def _post(self, group: Mapping[int, Submission], envelope: Envelope) -> Flow[None]:
        try:
            response = yield from self._transport.submit("/v1/jobs:batch", (yield from envelope.seal()))
        except RequestRefused as refused:
            if refused.status not in _FOR_ITS_CONTENT:
                raise
            yield from self._divide(group, refused)
            return
        entries = read(_Batch, response).jobs
        if len(entries) != len(group):
            raise ServiceUnreachable(f"{len(group)} submissions sent, {len(entries)} answered")
        for place, (number, entry) in enumerate(zip(group, entries, strict=True)):
            self._outcomes[number] = entry.job or refusal(_alone(entry.problem or {}, place), entry.status)

    def _divide(self, group: Mapping[int, Submission], refused: RequestRefused) -> Flow[None]:
        """Send a refused request in halves, until the guilty submission stands alone."""
        if len(group) == 1:
            self._outcomes.update(dict.fromkeys(group, refused))
            return
        numbers = list(group)
        for half in (numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]):
            yield from self._send({number: group[number] for number in half})

    def _first_outcomes(self) -> list[Outcome]:
        """Return the outcomes of the submissions before the first that has none."""
        answered: list[Outcome] = []
        while len(answered) in self._outcomes:
            answered.append(self._outcomes[len(answered)])
        return answered


def _alone(problem: dict[str, Any], place: int) -> dict[str, Any]:
    """Return a problem with pointers into the submission: its place in our request means nothing outside."""
    faults = problem.get("errors")
    if not isinstance(faults, list):
        return problem
    inner = [
        {**fault, "pointer": str(fault.get("pointer", "")).removeprefix(f"/{place}")}
        for fault in faults
        if isinstance(fault, dict)
    ]
    return {**problem, "errors": inner}

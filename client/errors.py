"""Every error that the client raises, in one tree.

IconotextError
|-- RequestRefused        the service read the request and said no; sending it again fails again
|   |-- Unauthorized      (401) no key, or none that is good any more
|   |-- Forbidden         (403) the key is good, and may not do this; or a quota is used up
|   |-- NotFound          (404) there is no such thing, or it is somebody else's
|   |-- Conflict          (409) it stands in the way of what is there already
|   `-- RateLimited       (429) too much at once; `retry_after_s` says when there is room again
|-- JobFailed             the job ended, and not in `succeeded`
|-- ServiceUnreachable    no usable answer; later may be better
|   `-- PartlySubmitted   amid a list of submissions; the jobs before it are stored
|-- WaitTimeout           the job was still going when our patience ended; it goes on
`-- StackFailed           `iconotext up` cannot start, or cannot keep its processes running
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from client.models import Job, Problem


class IconotextError(Exception):
    """The root of the tree; its message says what to do."""


class RequestRefused(IconotextError):
    """The service refused the request, or the client saw beforehand that it would."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int = 0,
        problems: Sequence[Problem] = (),
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        #: The stable name of what was wrong, `unknown_task`.
        self.code = code
        #: The HTTP status; 0 when the request was never sent.
        self.status = status
        #: One for each fault in the request, where the service named them.
        self.problems = tuple(problems)
        #: When the same request may be accepted (429, too much of yours waits); None: never.
        self.retry_after_s = retry_after_s
        #: By which the service's log knows the request; None: it did not say.
        self.request_id = request_id

    @property
    def advice(self) -> str:
        """What to do about it, where more can be said than the service did; else nothing."""
        return ""

    def __str__(self) -> str:
        message = str(self.args[0])
        match self.problems:
            case [only] if only.message == message:
                words = [str(only)]
            case _:
                words = [message, *map(str, self.problems)]
        return "; ".join([*words, self.advice] if self.advice else words)


class Unauthorized(RequestRefused):
    """The service wants a key, and got none or one that is not, or no longer, good."""

    @property
    def advice(self) -> str:
        return "set ICONOTEXT_KEY or pass api_key; `iconotext keys create` makes one"


class Forbidden(RequestRefused):
    """The key may not do this, or its tenant has used up what it may store."""

    @property
    def advice(self) -> str:
        return _FORBIDDEN.get(self.code, "")


_FORBIDDEN = {
    "forbidden": "use a key with that scope; `iconotext keys create` makes one",
    "storage_quota_exceeded": "delete jobs or files that are no longer needed, `iconotext delete JOB`",
}


class NotFound(RequestRefused):
    """There is no such thing, or it is somebody else's."""


class Conflict(RequestRefused):
    """It stands in the way of what is there already."""


class RateLimited(RequestRefused):
    """Too much was asked at once, or waits already."""

    @property
    def advice(self) -> str:
        return "" if self.retry_after_s is None else f"try again in {self.retry_after_s:g} s"


#: The refusals that have a class of their own, by HTTP status.
REFUSALS: Mapping[int, type[RequestRefused]] = MappingProxyType(
    {401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 429: RateLimited}
)


class JobFailed(IconotextError):
    """The job ended as `failed`, `canceled` or `expired`; `job` is its last state."""

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.message} ({job.error.code})" if job.error else ""
        advice = "; submitting it again may help" if job.error and job.error.retryable else ""
        super().__init__(f"job {job.id} {job.status}{reason}{advice}")
        self.job = job


class ServiceUnreachable(IconotextError):
    """The service did not answer, or answered that it cannot serve."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        #: When the service says that it may serve again; None: it did not say.
        self.retry_after_s = retry_after_s


class PartlySubmitted(ServiceUnreachable):
    """The service went away, or would take no more, amid a list of submissions."""

    def __init__(self, answered: Sequence[Job | RequestRefused], total: int, error: IconotextError) -> None:
        super().__init__(
            f"{len(answered)} of {total} submissions were answered, then: {error}; "
            "whether those after them got through is unknown"
        )
        #: The outcomes of the first submissions, in order.
        self.answered = tuple(answered)


class WaitTimeout(IconotextError):
    """A job has not ended in the time given; `job` is its last known state."""

    def __init__(self, job: Job, seconds: float, *, others: int = 0) -> None:
        """Say it.

        Args:
            others: jobs beside it that have not ended either.
        """
        beside = f" and {others} more have not ended" if others else ""
        super().__init__(
            f"job {job.id} is still {job.status}{beside} after {seconds:g} s; "
            "it goes on: wait for it again, or cancel it"
        )
        self.job = job


class StackFailed(IconotextError):
    """The embedded stack cannot start or go on; `tail` is the end of the log that says why."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail

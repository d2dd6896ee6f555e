"""What can be asked of a service: one flow for each method of the clients."""

from __future__ import annotations

from builtins import list as List  # noqa: N812  # `list` is a method here, as in the contract
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from client.answers import answered
from client.batches import Batch, Outcome
from client.catalogue import Catalogue
from client.errors import JobFailed
from client.flows import Emit, Flow, Stream, Tell
from client.mapping import Given, Lanes, submission_of
from client.models import File, Health, Job, Options, Page, System
from client.saving import save_job
from client.streaming import JobStream
from client.submissions import Envelope, Submission
from client.transport import Transport
from client.uploads import Uploads
from client.waiting import POLL_S, ROUND_S, Waiter, deadline, job_path

Listener = Callable[[Job], object]


class Calls:
    """The methods of a client, whoever drives them; `client.sdk.Client` says what each promises."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.catalogue = Catalogue(transport)
        self._waiter = Waiter(transport)

    def submit(self, submission: Submission, *, hold: float = 0, key: str | None = None) -> Flow[Job]:
        """Return the new job, or how it ended when that is within `hold` seconds."""
        envelope = Envelope()
        yield from envelope.put((yield from self.catalogue.body(submission)))
        body = yield from envelope.seal(alone=True)
        return (yield from answered(Job, self._transport.submit("/v1/jobs", body, hold=int(hold), key=key)))

    def run(self, submission: Submission, timeout: float | None) -> Flow[Job]:
        until = deadline(timeout)
        job = yield from self.submit(submission, hold=POLL_S if timeout is None else min(timeout, POLL_S))
        if job.is_terminal:
            return job
        return (yield from self._waiter.watch(job.id, timeout, until=until))

    def submit_many(self, submissions: Iterable[Submission]) -> Flow[List[Outcome]]:
        return Batch(self._transport, self.catalogue).send(tuple(submissions))

    def map(
        self,
        task: str,
        inputs: Iterable[Given],
        *,
        in_flight: int,
        ordered: bool,
        options: Options | None,
        fields: Mapping[str, Any],
    ) -> Stream[tuple[Given, Outcome]]:
        def make(given: Given) -> Submission:
            return submission_of(task, given, options, fields)

        lanes = Lanes(self.submit_many, self._waiter, make)
        return lanes.run(inputs, in_flight=max(1, in_flight), ordered=ordered)

    def get(self, job_id: str) -> Flow[Job]:
        return answered(Job, self._transport.request("GET", job_path(job_id)))

    def get_many(self, ids: Iterable[str], wait: float) -> Flow[List[Job | None]]:
        return self._waiter.all(tuple(ids), wait)

    def wait(self, job_id: str, timeout: float | None, on_progress: Listener | None) -> Flow[Job]:
        job = yield from self.watch(job_id, timeout, on_progress)
        if not job.succeeded:
            raise JobFailed(job)
        return job

    def watch(self, job_id: str, timeout: float | None, on_progress: Listener | None) -> Flow[Job]:
        # Polls, as `wait` does, and not the stream: one answer in 20 s, of which the last is the job, passes
        # every proxy, needs a seat no longer than it lasts, and asks for the end alone when nobody listens.
        return self._waiter.watch(job_id, timeout, on_progress)

    def wait_many(
        self, ids: Collection[str], timeout: float | None, on_progress: Listener | None
    ) -> Flow[List[Job]]:
        ended: dict[str, Job] = {}
        # Nobody listens: the end of all is the only news.
        rounds = self._waiter.rounds(ids, timeout, POLL_S if on_progress is None else ROUND_S)
        while rounds.are_left:
            jobs = yield from rounds.next()
            ended.update((job.id, job) for job in jobs)
            if on_progress is not None:
                for job in jobs:
                    yield Tell(on_progress, job)
        return [ended[job_id] for job_id in ids]

    def as_completed(self, ids: Collection[str], timeout: float | None) -> Stream[Job]:
        rounds = self._waiter.rounds(ids, timeout, ROUND_S)
        while rounds.are_left:
            for job in (yield from rounds.next()):
                yield Emit(job)

    def follow(self, ids: Collection[str], timeout: float | None, every: float) -> Stream[List[Job | None]]:
        return self._waiter.follow(ids, timeout, every)

    def stream(self, job_id: str) -> Stream[Job]:
        return JobStream(self._transport, job_id).run()

    def list(self, *, page_size: int | None, **filters: Any) -> Stream[Job]:
        token: str | None = None
        while True:
            page = yield from self.page(page_size=page_size, page_token=token, **filters)
            for job in page:
                yield Emit(job)
            token = page.next_page_token
            if not token:
                return

    def page(
        self,
        *,
        status: Collection[str],
        error: str | None,
        task: str | None,
        labels: Mapping[str, str] | None,
        created_after: datetime | None,
        page_size: int | None,
        page_token: str | None,
    ) -> Flow[Page]:
        params = [("status", state) for state in status]
        params += [(f"label.{key}", value) for key, value in (labels or {}).items()]
        single = {
            "error": error,
            "task": task,
            "created_after": created_after.isoformat() if created_after else None,
            "page_size": str(page_size) if page_size else None,
            "page_token": page_token,
        }
        params += [(key, value) for key, value in single.items() if value is not None]
        return answered(Page, self._transport.request("GET", "/v1/jobs", params=params))

    def cancel(self, job_id: str) -> Flow[Job]:
        return answered(Job, self._transport.request("POST", f"{job_path(job_id)}/cancel"))

    def retry(self, job: Job | str) -> Flow[Job]:
        known = (yield from self.get(job)) if isinstance(job, str) else job
        path, generation = f"{job_path(known.id)}/retry", str(known.generation)
        request = self._transport.request("POST", path, params=[("generation", generation)], once=True)
        return (yield from answered(Job, request))

    def delete(self, job: Job | str) -> Flow[None]:
        return self._transport.delete(job_path(job if isinstance(job, str) else job.id))

    def delete_file(self, file: File | str) -> Flow[None]:
        return self._transport.delete(_file_path(file if isinstance(file, str) else file.id))

    def upload(self, file: str | Path | bytes) -> Flow[File]:
        return Uploads(self._transport).send(Path(file) if isinstance(file, str) else file)

    def download(self, href: str) -> Flow[bytes]:
        path = self._transport.path_of(href) if "/" in href else f"{_file_path(href)}/content"
        return (yield from self._transport.request("GET", path)).content

    def save(self, job: Job, folder: str | Path) -> Flow[List[Path]]:
        return save_job(job, Path(folder), self.download)

    def health(self) -> Flow[Health]:
        return answered(Health, self._transport.request("GET", "/readyz", tried_again=False))

    def system(self) -> Flow[System]:
        return answered(System, self._transport.request("GET", "/v1/system"))


def _file_path(file_id: str) -> str:
    return f"/v1/files/{quote(file_id, safe='')}"

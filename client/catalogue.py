"""What the service can do, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from client.answers import read
from client.errors import RequestRefused
from client.flows import Flow
from client.inputs import Places
from client.models import Task, Value
from client.submissions import Submission
from client.transport import Transport
from client.uploads import Uploads


class _Tasks(Value):
    tasks: tuple[Task, ...]


class Catalogue:
    """The tasks of one service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._uploads = Uploads(transport)
        self._tasks: Mapping[str, Task] = {}
        self._places: dict[str, Places] = {}

    def read(self) -> Flow[Sequence[Task]]:
        """Return all of them, as they are now."""
        tasks = read(_Tasks, (yield from self._transport.request("GET", "/v1/tasks"))).tasks
        self._tasks = {task.name: task for task in tasks}
        self._places = {}
        return list(tasks)

    def task(self, name: str) -> Flow[Task]:
        """Return the task of this name.

        Raises:
            RequestRefused: there is none.
        """
        if name not in self._tasks:
            yield from self.read()
        if name not in self._tasks:
            known = ", ".join(self._tasks)
            raise RequestRefused(f"no task {name!r}; this service has {known}", code="unknown_task")
        return self._tasks[name]

    def body(self, submission: Submission) -> Flow[dict[str, Any]]:
        """Return what is sent of a submission, its pictures, texts and films where its task wants them.

        Raises:
            RequestRefused: there is no such task, or it has no place for them.
        """
        if not (submission.images or submission.texts or submission.videos):
            return (yield from self._sendable(submission, {}))
        places = self._places.get(submission.task)
        if places is None:
            places = Places.of((yield from self.task(submission.task)))
            self._places[submission.task] = places
        placed = places.fill(submission.images, submission.texts, submission.videos)
        return (yield from self._sendable(submission, placed))

    def _sendable(self, submission: Submission, placed: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """Return the body of a submission; large files are stored on the way."""
        body: dict[str, Any] = yield from self._uploads.lifted(submission.body(placed))
        return body

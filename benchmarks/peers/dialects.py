"""How each side is asked: from a picture's bytes to its vector."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Protocol, cast

from benchmarks.peers.http import Answer, Connection


class Refused(Exception):
    """The server answered that it cannot."""


class Dialect(Protocol):
    """One side's two steps. A side that answers at once has no second step."""

    async def submit(self, connection: Connection, picture: bytes) -> str | Ticket:
        """Return the vector, base64 of float32, or where it will be found."""
        ...

    async def collect(self, connection: Connection, ticket: Ticket) -> str:
        """Return the vector that was promised."""
        ...


class Ticket(str):
    """Where a promised answer will be found: a URL's path."""

    __slots__ = ()


class Direct:
    """One request, one answer: `{"vector": ...}`."""

    def __init__(self, target: str) -> None:
        self._target = target

    async def submit(self, connection: Connection, picture: bytes) -> str | Ticket:
        answer = await connection.ask("POST", self._target, "Content-Type: image/jpeg\r\n", picture)
        return str(_json(answer)["vector"])

    async def collect(self, connection: Connection, ticket: Ticket) -> str:
        raise NotImplementedError("its answers come at once")


class Batched(Direct):
    """BentoML's batchable endpoint: lists of one."""

    async def submit(self, connection: Connection, picture: bytes) -> str | Ticket:
        words = b'{"pictures":["', base64.b64encode(picture), b'"]}'
        answer = await connection.ask("POST", self._target, "Content-Type: application/json\r\n", *words)
        return str(_list(answer)[0])


class Polled:
    """The Celery template: `202` with a task's id, then the same question until it is done."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s

    async def submit(self, connection: Connection, picture: bytes) -> str | Ticket:
        answer = await connection.ask("POST", "/embed", "Content-Type: image/jpeg\r\n", picture)
        return Ticket(f"/tasks/{_json(answer)['task_id']}")

    async def collect(self, connection: Connection, ticket: Ticket) -> str:
        while True:
            await asyncio.sleep(self._pause_s)
            said = _json(await connection.ask("GET", ticket))
            if said["status"] == "SUCCESS":
                return str(said["vector"])
            if said["status"] == "FAILURE":
                raise Refused(str(said))


class Ours:
    """`POST /v1/jobs`, waiting for the result, and long-polling where the wait was cut short."""

    _BOUNDARY = "iconotext-peers"
    _HEAD = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="request"\r\n'
        "Content-Type: application/json\r\n\r\n"
        '{"task":"embed","input":{"images":[{"part":"photo"}],"space":"image","encoding":"base64"}}'
        f'\r\n--{_BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    _TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()
    #: Every seat for waiting was taken: look again so soon.
    _PAUSE_S = 0.05

    def __init__(self, *, wait: bool = True) -> None:
        """Prepare; without `wait` every job is accepted first and looked after then."""
        self._headers = f"Content-Type: multipart/form-data; boundary={self._BOUNDARY}\r\n"
        self._headers += "Prefer: wait=20\r\n" if wait else ""

    async def submit(self, connection: Connection, picture: bytes) -> str | Ticket:
        answer = await connection.ask("POST", "/v1/jobs", self._headers, self._HEAD, picture, self._TAIL)
        job = _json(answer)
        return _vector(job) or Ticket(f"/v1/jobs/{job['id']}")

    async def collect(self, connection: Connection, ticket: Ticket) -> str:
        while True:
            if vector := _vector(_json(await connection.ask("GET", f"{ticket}?wait=20"))):
                return vector
            await asyncio.sleep(self._PAUSE_S)


def _vector(job: dict[str, object]) -> str | None:
    if job["status"] in {"failed", "canceled", "expired"}:
        raise Refused(str(job.get("error") or job["status"]))
    result = job.get("result")
    return str(result["image_vectors"][0]) if isinstance(result, dict) else None


def _json(answer: Answer) -> dict[str, object]:
    return dict(cast("dict[str, object]", _value(answer)))


def _list(answer: Answer) -> list[object]:
    return list(cast("list[object]", _value(answer)))


def _value(answer: Answer) -> object:
    if answer.status >= 400:
        raise Refused(f"{answer.status}: {answer.body[:200]!r}")
    value: object = json.loads(answer.body)
    return value


def dialect(name: str, argument: str = "") -> Dialect:
    """Return the dialect of that name, as `sides` writes it on the load's command line."""
    match name:
        case "direct":
            return Direct(argument)
        case "batched":
            return Batched(argument)
        case "polled":
            return Polled(float(argument))
        case "ours":
            return Ours(wait=argument != "accept")
    raise ValueError(f"no dialect {name}")

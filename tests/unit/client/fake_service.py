"""A service in memory that speaks the HTTP contract."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

Answer = Callable[[httpx.Request], httpx.Response]

_PART = re.compile(rb'name="([^"]+)"(?:; filename="([^"]*)")?')
_IMAGE = {
    "type": "object",
    "properties": {
        "file": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "data": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "part": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
}
_TEXT = {"type": "string", "minLength": 1, "pattern": r"\S"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 100}
_REF = {"$ref": "#/$defs/ImageRef"}
_NULL = {"type": "null"}


def task_entry(name: str, required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "name": name,
        "summary": f"what {name} does",
        "input_schema": {
            "$defs": {"ImageRef": _IMAGE},
            "properties": properties,
            "required": required,
            "type": "object",
        },
    }


CATALOGUE = [
    task_entry(
        "classify",
        ["image"],
        image=_REF,
        text={"anyOf": [_TEXT, _NULL]},
        labels={"anyOf": [{"type": "array", "items": _TEXT}, _NULL]},
        head={"anyOf": [_NAME, _NULL]},
        top_k={"type": "integer"},
    ),
    task_entry(
        "match",
        ["images", "texts"],
        images={"type": "array", "items": _REF},
        texts={"type": "array", "items": _TEXT},
    ),
    task_entry("answer", ["image", "question"], question=_TEXT, hint={"anyOf": [_TEXT, _NULL]}, image=_REF),
]


@dataclass
class FakeService(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers from a script first, then as a service with one job, and those of lists, would."""

    job: dict[str, Any] = field(default_factory=dict)
    #: What a poll finds, one after the other; the last one stays.
    changes: list[dict[str, Any]] = field(default_factory=list)
    script: list[Answer | httpx.Response | Exception] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    #: What was submitted in lists, by id.
    many: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: How many of those end during one wait; the newest first, as no order is promised.
    pace: int = 1_000
    #: Only each such look at some ends any.
    every: int = 1
    #: A list longer than this is too large.
    longest: int = 1_000
    system: dict[str, Any] = field(default_factory=dict)
    #: The most of those that were queued at a time.
    busiest: int = 0
    #: Looks at some, while waiting.
    looks: int = 0
    #: What was answered to a submit, by its key.
    _answered: dict[str, httpx.Response] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        with self._lock:
            return self._answer(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        # Others have their turn, as over a network.
        await asyncio.sleep(0)
        with self._lock:
            return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return _fresh(answer) if isinstance(answer, httpx.Response) else answer(request)
        key = request.headers.get("idempotency-key", "")
        if key not in self._answered:
            answer = self._routed(request)
            if not (key and answer.is_success):
                return answer
            self._answered[key] = answer
        return _fresh(self._answered[key])

    def lose(self, request: httpx.Request) -> httpx.Response:
        """Do what is asked, and break off in place of the answer: for the script."""
        self.requests.pop()
        self._answer(request)
        raise httpx.ReadError("reset")

    def _routed(self, request: httpx.Request) -> httpx.Response:
        routes: dict[str, Answer] = {
            "GET /v1/tasks": lambda _: httpx.Response(200, json={"tasks": CATALOGUE}),
            "GET /v1/system": lambda _: httpx.Response(200, json=self.system),
            "POST /v1/jobs": self._accept_one,
            "POST /v1/jobs:batch": self._accept_list,
            "POST /v1/jobs:get": self._answer_many,
            "GET /v1/jobs/job_1": self._poll,
            "POST /v1/jobs/job_1/cancel": self._cancel,
            "POST /v1/jobs/job_1/retry": self._retry,
        }
        route = routes.get(f"{request.method} {request.url.path}", self._answer_one_of_many)
        return route(request)

    def sent_to(self, path: str) -> list[httpx.Request]:
        """Return the requests of one route, in order."""
        return [request for request in self.requests if request.url.path == path]

    def body(self) -> Any:
        """Return the JSON of the last submit, however it was sent."""
        request = [request for request in self.requests if request.method == "POST"][-1]
        if request.headers["content-type"] == "application/json":
            return json.loads(request.content)
        return json.loads(self.parts()["request"])

    def parts(self) -> dict[str, bytes]:
        """Return the parts of the last multipart request by name."""
        request = [request for request in self.requests if request.method == "POST"][-1]
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        found = {}
        for chunk in request.content.split(b"--" + boundary)[1:-1]:
            head, _, content = chunk.partition(b"\r\n\r\n")
            match = _PART.search(head)
            assert match is not None
            found[match[1].decode()] = content[:-2]
        return found

    def _accept_one(self, request: httpx.Request) -> httpx.Response:
        if "prefer" in request.headers and self.changes:
            self.job |= self.changes.pop(0)
        return self._answer_job(200 if self.job["status"] == "succeeded" else 202)

    def _cancel(self, request: httpx.Request) -> httpx.Response:
        self.job |= {"status": "canceled", "version": 9}
        return self._answer_job(200)

    def _retry(self, request: httpx.Request) -> httpx.Response:
        if request.url.params.get("generation") == str(self.job.get("generation", 1)):
            self.job |= {"status": "queued", "version": self.job["version"] + 1}
            self.job |= {"error": None, "generation": self.job.get("generation", 1) + 1}
        return self._answer_job(202)

    def _accept_list(self, request: httpx.Request) -> httpx.Response:
        submissions = self.body()
        if len(submissions) > self.longest:
            return problem(413, "body_too_large", "the body is too large")
        if "malformed" in json.dumps(submissions):
            return problem(400, "malformed_body", "the body holds what JSON should not")
        accepted = [self._accept(*item) for item in enumerate(submissions)]
        self.busiest = max(self.busiest, sum(job["status"] == "queued" for job in self.many.values()))
        return httpx.Response(207, json={"jobs": accepted})

    def _accept(self, place: int, submission: dict[str, Any]) -> dict[str, Any]:
        if "bad" in submission["input"]:
            fault = {"pointer": f"/{place}/input/bad", "detail": "is not wanted", "code": "invalid_request"}
            words = {"code": "invalid_request", "detail": "is not wanted", "errors": [fault]}
            return {"status": 422, "problem": words}
        job = {**self.job, "id": f"many_{len(self.many)}", "task": submission["task"]}
        self.many[job["id"]] = job
        return {"status": 202, "job": job}

    def _answer_many(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        jobs = [self.many.get(job_id) for job_id in body["ids"]]
        going = [job for job in jobs if job is not None and job["status"] == "queued"]
        if "wait_s" in body:
            self.looks += 1
            for job in going[::-1][: self.pace if self.looks % self.every == 0 else 0]:
                job |= {"status": "succeeded", "version": 2}
        return httpx.Response(200, json={"jobs": jobs})

    def _answer_one_of_many(self, request: httpx.Request) -> httpx.Response:
        job_id, _, verb = request.url.path.removeprefix("/v1/jobs/").partition("/")
        if job_id not in self.many or verb not in ("", "cancel"):
            return problem(404, "not_found", "no such thing")
        if verb == "cancel":
            self.many[job_id] |= {"status": "canceled", "version": 9}
        return httpx.Response(200, json=self.many[job_id])

    def _poll(self, request: httpx.Request) -> httpx.Response:
        if self.changes and "wait" in request.url.params:
            self.job |= self.changes.pop(0)
        if request.headers.get("if-none-match") == f'"{self.job["version"]}"':
            return httpx.Response(304)
        return self._answer_job(200)

    def _answer_job(self, status: int) -> httpx.Response:
        return httpx.Response(status, json=self.job, headers={"ETag": f'"{self.job["version"]}"'})


def _fresh(answer: httpx.Response) -> httpx.Response:
    """Return an answer that nobody has read yet; one of a script may serve several requests."""
    return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def problem(status: int, code: str, detail: str, **more: Any) -> httpx.Response:
    return httpx.Response(
        status,
        headers={"Content-Type": "application/problem+json"},
        content=json.dumps({"status": status, "code": code, "detail": detail, **more}),
    )

"""A service in memory that speaks the HTTP contract."""

from __future__ import annotations

import json
import re
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
class FakeService(httpx.BaseTransport):
    """Answers from a script first, then as a service with one job would."""

    job: dict[str, Any] = field(default_factory=dict)
    #: What a poll finds, one after the other; the last one stays.
    changes: list[dict[str, Any]] = field(default_factory=list)
    script: list[Answer | httpx.Response | Exception] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, httpx.Response) else answer(request)
        route = f"{request.method} {request.url.path}"
        if route == "GET /v1/tasks":
            return httpx.Response(200, json={"tasks": CATALOGUE})
        if route == "POST /v1/jobs":
            return self._answer_job(202)
        if route == "GET /v1/jobs/job_1":
            return self._poll(request)
        if route == "POST /v1/jobs/job_1/cancel":
            self.job |= {"status": "canceled", "version": 9}
            return self._answer_job(200)
        return problem(404, "not_found", "no such thing")

    def body(self) -> dict[str, Any]:
        """Return the JSON of the last submit, however it was sent."""
        request = [request for request in self.requests if request.method == "POST"][-1]
        if request.headers["content-type"] == "application/json":
            return json.loads(request.content)  # type: ignore[no-any-return]
        return json.loads(self.parts()["request"])  # type: ignore[no-any-return]

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

    def _poll(self, request: httpx.Request) -> httpx.Response:
        if self.changes and "wait" in request.url.params:
            self.job |= self.changes.pop(0)
        if request.headers.get("if-none-match") == f'"{self.job["version"]}"':
            return httpx.Response(304)
        return self._answer_job(200)

    def _answer_job(self, status: int) -> httpx.Response:
        return httpx.Response(status, json=self.job, headers={"ETag": f'"{self.job["version"]}"'})


def problem(status: int, code: str, detail: str, **more: Any) -> httpx.Response:
    return httpx.Response(
        status,
        headers={"Content-Type": "application/problem+json"},
        content=json.dumps({"status": status, "code": code, "detail": detail, **more}),
    )

"""Jobs as a client hands them in and gets them back: one by one, many in one, and by the hundred."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.wire import Answer, Conversation, Wire
from client.multipart import Part, encode

#: Jobs in one `POST /v1/jobs:batch`.
HUNDRED = 100
#: Seconds that one request waits for a job's end.
_WAIT_S = 25
#: Before asking again, where the service waited less than it was asked to.
_BREATH_S = 0.02
_ENDED = frozenset({"succeeded", "failed", "canceled", "expired"})

#: What a job sends along.
Files = Sequence[bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one job is to embed."""

    images: Files = ()
    texts: Sequence[str] = ()

    @property
    def items(self) -> int:
        return len(self.images) + len(self.texts)

    def submission(self, first_part: int = 0) -> dict[str, Any]:
        """Return the JSON of a submit whose pictures are parts, numbered from `first_part`."""
        given: dict[str, Any] = {"encoding": "base64", "space": "image" if self.images else "joint"}
        if self.images:
            given["images"] = [{"part": f"p{first_part + number}"} for number in range(len(self.images))]
        if self.texts:
            given["texts"] = list(self.texts)
        return {"task": "embed", "input": given}


@dataclass(slots=True)
class Ledger:
    """What came back."""

    jobs: int = 0
    items: int = 0
    #: From the first byte sent to the result in the client's hands, each job, in milliseconds.
    latencies_ms: list[float] = field(default_factory=list)
    #: What each job says of itself, by name: `queue`, `model` and so on, in milliseconds.
    timings_ms: list[dict[str, float]] = field(default_factory=list)

    def book(self, job: dict[str, Any], began: float) -> None:
        """Take a job that has ended.

        Raises:
            RuntimeError: it did not succeed: a rate that counts failures says nothing.
        """
        if job["status"] != "succeeded":
            raise RuntimeError(f"a job ended {job['status']}: {job.get('error')}")
        self.jobs += 1
        result = job["result"]
        self.items += len(result["image_vectors"]) + len(result["text_vectors"])
        self.latencies_ms.append((time.monotonic() - began) * 1000)
        self.timings_ms.append(job["timings_ms"])


def prepared(wire: Wire, work: Work, *, hold: bool) -> bytes:
    """Return the request that submits one job.

    Args:
        hold: have the service answer when the job has ended (`Prefer: wait`).
    """
    headers = {"Prefer": f"wait={_WAIT_S}"} if hold else {}
    if not work.images:
        return wire.post_json("/v1/jobs", work.submission(), headers)
    body, media_type = form(work.submission(), work.images)
    return wire.request("POST", "/v1/jobs", body, {"Content-Type": media_type, **headers})


def prepared_batch(wire: Wire, works: Sequence[Work]) -> bytes:
    """Return the request that submits many jobs at once."""
    files = [file for work in works for file in work.images]
    firsts = itertools.accumulate((len(work.images) for work in works), initial=0)
    value = [work.submission(first) for work, first in zip(works, firsts, strict=False)]
    if not files:
        return wire.post_json("/v1/jobs:batch", value)
    body, media_type = form(value, files)
    return wire.request("POST", "/v1/jobs:batch", body, {"Content-Type": media_type})


def form(value: Any, files: Files) -> tuple[bytes, str]:
    """Return a multipart body, the JSON and the files `p0`, `p1` and so on, and its media type."""
    named = ((f"p{number}", file) for number, file in enumerate(files))
    return encode(
        [
            Part("request", None, json.dumps(value).encode(), "application/json"),
            *(Part(name, f"{name}.jpg", file, "image/jpeg") for name, file in named),
        ]
    )


def one_by_one(wire: Wire, requests: Iterator[bytes], ledger: Ledger) -> Conversation:
    """Submit, wait for the end, read the result, and again, until no request is left."""
    for request in requests:
        began, asked = time.monotonic(), False
        answer = yield request
        job = answer.json() if answer else {}
        while job["status"] not in _ENDED:
            if asked:
                yield _BREATH_S
            asked = True
            answer = yield wire.request("GET", f"/v1/jobs/{job['id']}?wait={_WAIT_S}")
            job = answer.json() if answer else {}
        ledger.book(job, began)


def by_hundred(wire: Wire, requests: Iterator[bytes], ledger: Ledger) -> Conversation:
    """Submit a batch, ask for its jobs until all have ended, and again, until no request is left."""
    for request in requests:
        began = time.monotonic()
        answer = yield request
        ids = [job["id"] for job in _accepted(answer)]
        jobs: list[dict[str, Any]] = []
        while not jobs or any(job["status"] not in _ENDED for job in jobs):
            if jobs:
                yield _BREATH_S
            answer = yield wire.post_json("/v1/jobs:get", {"ids": ids, "wait_s": _WAIT_S})
            jobs = answer.json()["jobs"] if answer else []
        for job in jobs:
            ledger.book(job, began)


def in_flight(wire: Wire, requests: Collection[bytes], lanes: int, ledger: Ledger, *, batches: bool) -> float:
    """Send all requests, so many at a time; return the seconds until the last result was read."""
    pending = iter(requests)
    talk = by_hundred if batches else one_by_one
    began = time.monotonic()
    wire.talk([talk(wire, pending, ledger) for _ in range(min(lanes, len(requests)))])
    return time.monotonic() - began


def _accepted(answer: Answer | None) -> list[dict[str, Any]]:
    """Return the new jobs of a batch.

    Raises:
        RuntimeError: one was refused.
    """
    outcomes: list[dict[str, Any]] = answer.json(207)["jobs"] if answer else []
    if refused := [outcome for outcome in outcomes if "job" not in outcome]:
        raise RuntimeError(f"the service refused a job: {refused[0]}")
    return [outcome["job"] for outcome in outcomes]

"""The users of a run: they submit, try again when they get no answer, poll, and cancel."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx

from shared.jobs import MOVES, JobState, Json
from tests.chaos.pieces import Piece, draw

#: No request may take longer, whatever is broken (I7).
PATIENCE_S = 10.0
#: A little more, so that what takes too long is told from what is cut off here.
_TIMEOUT_S = PATIENCE_S + 5.0
#: What a service in trouble may say.
_LATER = frozenset({429, 503, 507})
_PAUSE_S = 0.2
#: One job in so many wants a webhook.
_TOLD = 10
#: One submit in so many is a batch, of so many jobs.
_BATCHES, _TOGETHER = 40, 10


@dataclass(slots=True)
class Order:
    """One job that somebody wants."""

    number: int
    piece: Piece
    is_told: bool
    job_id: str | None = None
    #: Since when it is a promise, on `time.time()`.
    accepted_at: float | None = None


@dataclass(slots=True)
class Seen:
    """What was polled of a job last."""

    generation: int
    version: int
    attempt: int
    state: JobState
    fraction: float


@dataclass
class Findings:
    """What went wrong before everybody's eyes; safe to add to from many threads."""

    #: By invariant: a count and the first few.
    faults: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, invariant: str, words: str) -> None:
        """Note a broken promise."""
        with self.lock:
            self.faults[invariant].append(words)

    def count(self, what: str) -> None:
        """Note something that may happen."""
        with self.lock:
            self.counts[what] += 1


class Users:
    """All of them."""

    def __init__(
        self,
        url: str,
        sink_url: str,
        *,
        jobs: int,
        seconds: float,
        seed: int,
        findings: Findings,
        threads: int = 6,
        pollers: int = 3,
    ) -> None:
        """Take the service.

        Args:
            jobs: submitted evenly over `seconds`; faster afterwards where the service held them up.
        """
        drawn = random.Random(seed)
        self.orders = [Order(number, draw(drawn), number % _TOLD == 0) for number in range(jobs)]
        self.findings = findings
        self._url = url
        self._sink_url = sink_url
        self._run = f"{seed}-{time.time_ns()}"
        self._step_s = seconds / jobs
        self._numbers = itertools.count()
        self._next = threading.Lock()
        self._began = time.monotonic()
        self._cancels: list[tuple[float, int]] = []
        self._open: dict[str, Order] = {}
        self._done = threading.Event()
        self._submitters = [threading.Thread(target=self._submit_all, daemon=True) for _ in range(threads)]
        self._others = [
            threading.Thread(target=self._cancel_all, daemon=True),
            *(
                threading.Thread(target=self._poll_all, args=(seed + one,), daemon=True)
                for one in range(pollers)
            ),
        ]

    def start(self) -> None:
        self._began = time.monotonic()
        for thread in (*self._submitters, *self._others):
            thread.start()

    @property
    def accepted(self) -> list[Order]:
        """Return the orders that were acknowledged."""
        return [order for order in self.orders if order.job_id is not None]

    def wait_until_submitted(self, seconds: float) -> bool:
        """Return whether every order was acknowledged in time."""
        deadline = time.monotonic() + seconds
        for thread in self._submitters:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._submitters)

    def close(self) -> None:
        """Stop polling."""
        self._done.set()
        for thread in (*self._submitters, *self._others):
            thread.join(_TIMEOUT_S * 2)

    def ask(self, client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response | None:
        """Return the answer; None when there was none, or the service asked for patience."""
        began = time.monotonic()
        try:
            answer = client.request(method, path, **options)
        except httpx.TimeoutException:
            self.findings.fault("I7 hang", f"{method} {path}: no answer in {time.monotonic() - began:.1f} s")
            return None
        except httpx.HTTPError:
            self.findings.count("requests without an answer")
            return None
        if (spent := time.monotonic() - began) > PATIENCE_S:
            self.findings.fault("I7 hang", f"{method} {path}: {answer.status_code} after {spent:.1f} s")
        if answer.status_code in _LATER:
            self.findings.count(f"answers {answer.status_code}")
            if "Retry-After" not in answer.headers:
                self.findings.fault("I7 errors", f"{method} {path}: {answer.status_code} without Retry-After")
            return None
        if answer.status_code >= 500:
            self.findings.fault("I7 errors", f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, timeout=_TIMEOUT_S, trust_env=False)

    def _submit_all(self) -> None:
        with self.client() as client:
            while not self._done.is_set():
                with self._next:
                    number = next(self._numbers)
                    together = _TOGETHER if number % _BATCHES == _BATCHES - 1 else 1
                    for _ in range(together - 1):
                        next(self._numbers)
                orders = self.orders[number : number + together]
                if not orders:
                    return
                self._done.wait(max(0.0, self._began + number * self._step_s - time.monotonic()))
                if len(orders) == 1:
                    self._submit(client, orders[0])
                else:
                    self._submit_together(client, orders)

    def _submit(self, client: httpx.Client, order: Order) -> None:
        headers = {"Idempotency-Key": f"{self._run}-{order.number}"}
        body = self._body(order)
        while not self._done.is_set():
            answer = self.ask(client, "POST", "/v1/jobs", json=body, headers=headers)
            if answer is None:
                self._done.wait(_PAUSE_S)
                continue
            if answer.status_code not in {200, 202}:
                self.findings.fault("I7 errors", f"submit: {answer.status_code} {answer.text[:200]}")
                return
            self._accept(order, answer.json())
            return

    def _submit_together(self, client: httpx.Client, orders: list[Order]) -> None:
        headers = {"Idempotency-Key": f"{self._run}-{orders[0].number}-together"}
        body = [self._body(order) for order in orders]
        while not self._done.is_set():
            answer = self.ask(client, "POST", "/v1/jobs:batch", json=body, headers=headers)
            if answer is None:
                self._done.wait(_PAUSE_S)
                continue
            for order, outcome in zip(orders, answer.json().get("jobs", ()), strict=False):
                if "job" in outcome:
                    self._accept(order, outcome["job"])
                else:
                    self.findings.fault("I7 errors", f"batch: {outcome}")
            if answer.status_code != httpx.codes.MULTI_STATUS:
                self.findings.fault("I7 errors", f"batch: {answer.status_code} {answer.text[:200]}")
            return

    def _body(self, order: Order) -> Json:
        body = {**order.piece.body, "labels": {"order": str(order.number)}}
        if order.is_told:
            body["webhook"] = {"url": self._sink_url}
        return body

    def _accept(self, order: Order, job: Json) -> None:
        if order.job_id is not None and order.job_id != job["id"]:
            self.findings.fault("I9 keys", f"order {order.number} became {order.job_id} and {job['id']}")
        order.job_id, order.accepted_at = job["id"], time.time()
        self._open[job["id"]] = order
        if order.piece.canceled_after_s is not None:
            with self._next:
                heapq.heappush(self._cancels, (time.monotonic() + order.piece.canceled_after_s, order.number))

    def _cancel_all(self) -> None:
        with self.client() as client:
            while not self._done.wait(0.02):
                with self._next:
                    is_due = self._cancels and self._cancels[0][0] <= time.monotonic()
                    number = heapq.heappop(self._cancels)[1] if is_due else None
                if number is None:
                    continue
                order = self.orders[number]
                if self.ask(client, "POST", f"/v1/jobs/{order.job_id}/cancel") is None:
                    with self._next:
                        heapq.heappush(self._cancels, (time.monotonic() + _PAUSE_S, number))

    def _poll_all(self, seed: int) -> None:
        drawn = random.Random(seed)
        # Each poller's own: its looks follow one another, so whatever it sees must not go back.
        seen: dict[str, Seen] = {}
        with self.client() as client:
            while not self._done.wait(0.03):
                ids = list(self._open)
                if not ids:
                    continue
                # The young ones move most.
                job_id = drawn.choice(ids[-40:] if drawn.random() < 0.7 else ids)
                path = f"/v1/jobs/{job_id}" + ("?wait=1" if drawn.random() < 0.2 else "")
                if (answer := self.ask(client, "GET", path)) is not None:
                    self._look(job_id, answer, seen)

    def _look(self, job_id: str, answer: httpx.Response, seen: dict[str, Seen]) -> None:
        if answer.status_code != 200:
            self.findings.fault("I1 lost", f"{job_id}: {answer.status_code} {answer.text[:200]}")
            return
        job = answer.json()
        new = Seen(
            job.get("generation", 1),
            job["version"],
            job["attempt"],
            JobState(job["status"]),
            job["progress"]["fraction"],
        )
        before = seen.get(job_id)
        seen[job_id] = new
        self.findings.count("polls")
        if before is not None and (words := _regression(before, new)):
            self.findings.fault("I4 regressions", f"{job_id}: {words}: {before} then {new}")
        if new.state.is_terminal:
            self._open.pop(job_id, None)


def _regression(before: Seen, new: Seen) -> str:
    """Return what went back between two looks that followed one another; empty: nothing."""
    faults = {
        "the version fell": (new.generation, new.version) < (before.generation, before.version),
        "the attempt fell": new.attempt < before.attempt,
        "two states in one version": new.version == before.version and new.state != before.state,
        "the state went back": new.generation == before.generation
        and new.state not in _reachable(before.state),
        "the progress fell": (new.generation, new.attempt) == (before.generation, before.attempt)
        and new.fraction < before.fraction,
    }
    return ", ".join(words for words, happened in faults.items() if happened)


def _reachable(state: JobState) -> set[JobState]:
    steps = set(MOVES[state])
    return {state} | steps | {further for step in steps for further in _reachable(step)}

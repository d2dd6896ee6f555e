"""What Prometheus is told: this process's requests, and the fleet as the store knows it.

A registry of the app's own: importing this starts nothing, and two apps in a process do not meet. It counts
the requests of one process, which is how the service runs (`gunicorn --workers 1`); what is read from the
store is the same whichever process answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from api.admission import Waiting
from api.errors import turned_away
from api.fleet import Fleet, residency
from shared.jobs import Json

#: Seconds; requests that wait for a job are meant to take long.
_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_OF_MODEL = ("worker", "capability", "model")


class Measures:
    """The counters of one app."""

    def __init__(self, look: Callable[[], Fleet], waiting: Callable[[], Waiting]) -> None:
        """Make them.

        Args:
            look: asked for the fleet with every scrape.
            waiting: asked with every scrape what waits, and how much may.
        """
        self._registry = CollectorRegistry()
        self._registry.register(_FleetCollector(look, waiting))
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            "iconotext_http_request_duration_seconds",
            "From the request's head to its answer's; waiting for a job included.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self._registry,
        )

        self._refusals = Counter(
            "iconotext_refusals",
            "Requests that were told to come back later.",
            ("code",),
            registry=self._registry,
        )

    def install(self, app: Flask) -> None:
        """Count and time every request of an app."""
        app.before_request(_start)
        app.after_request(self._count)

    def exposition(self) -> bytes:
        """Return everything in Prometheus's text format.

        Raises:
            StoreUnavailable: the fleet cannot be asked.
        """
        return generate_latest(self._registry)

    def _count(self, response: Response) -> Response:
        rule = request.url_rule
        # What no route answers is not told apart: a caller may invent methods and paths without end.
        method, route = (request.method, rule.rule) if rule is not None else ("", "")
        spent_s = time.monotonic() - g.get("began", time.monotonic())
        self._requests.labels(method, route, str(response.status_code)).observe(spent_s)
        if (code := turned_away()) is not None:
            self._refusals.labels(code).inc()
        return response


def _start() -> None:
    g.began = time.monotonic()


class _FleetCollector(Collector):
    def __init__(self, look: Callable[[], Fleet], waiting: Callable[[], Waiting]) -> None:
        self._look = look
        self._waiting = waiting

    def describe(self) -> Iterable[Metric]:
        # Registering would collect otherwise, and the store may be away.
        return []

    def collect(self) -> Iterator[Metric]:
        fleet = self._look()
        yield from _of_queue(self._waiting())
        yield from _of_pools(fleet)
        yield from _of_workers(fleet)
        yield from _of_models(fleet)
        yield from _of_operations(fleet)


def _of_queue(waiting: Waiting) -> Iterator[Metric]:
    figures = {
        "iconotext_queued_jobs": ("Jobs that wait to be started.", waiting.load.jobs),
        "iconotext_queued_jobs_mark": ("How many may wait; more are refused.", waiting.marks.jobs),
        "iconotext_queued_bytes": ("Bytes of their inputs and files.", waiting.load.bytes),
        "iconotext_queued_bytes_mark": ("How many may wait; more are refused.", waiting.marks.bytes),
    }
    for name, (words, value) in figures.items():
        yield GaugeMetricFamily(name, words, value=value)


def _of_pools(fleet: Fleet) -> Iterator[Metric]:
    queued = GaugeMetricFamily("iconotext_backlog_jobs", "Jobs that could be claimed now.", labels=["pool"])
    scale = GaugeMetricFamily("iconotext_queued_per_slot", "Jobs queued per slot.", labels=["pool"])
    workers = GaugeMetricFamily("iconotext_workers", "Living workers.", labels=["pool"])
    slots = GaugeMetricFamily("iconotext_slots", "Jobs that run at a time.", labels=["pool"])
    for pool in fleet.pools:
        queued.add_metric([pool.name], pool.queued)
        scale.add_metric([pool.name], pool.queued_per_slot)
        workers.add_metric([pool.name], pool.workers)
        slots.add_metric([pool.name], pool.slots)
    yield from (queued, scale, workers, slots)


def _of_workers(fleet: Fleet) -> Iterator[Metric]:
    memory = GaugeMetricFamily("iconotext_worker_memory_bytes", "Resident memory.", labels=["worker"])
    waiting = GaugeMetricFamily("iconotext_waiting_items", "Items before the device.", labels=["worker"])
    busy = CounterMetricFamily("iconotext_busy_seconds", "Time spent in model calls.", labels=["worker"])
    for worker, info in fleet.workers:
        engine: Json = info.get("engine", {})
        if info.get("memory_bytes") is not None:
            memory.add_metric([worker], info["memory_bytes"])
        waiting.add_metric([worker], engine.get("waiting", 0))
        busy.add_metric([worker], engine.get("busy_seconds", 0.0))
    yield from (memory, waiting, busy)


def _of_models(fleet: Fleet) -> Iterator[Metric]:
    resident = GaugeMetricFamily("iconotext_model_bytes", "Memory of a resident model.", labels=_OF_MODEL)
    loads = CounterMetricFamily("iconotext_model_loads", "Times a model was loaded.", labels=_OF_MODEL)
    evictions = CounterMetricFamily("iconotext_model_evictions", "Times it had to go.", labels=_OF_MODEL)
    for worker, info in fleet.workers:
        for model in residency(info):
            names = [worker, model["capability"], model["id"]]
            resident.add_metric(names, (model["bytes"] or 0) if model["resident"] else 0)
            loads.add_metric(names, model["loads"])
            evictions.add_metric(names, model["evictions"])
    yield from (resident, loads, evictions)


def _of_operations(fleet: Fleet) -> Iterator[Metric]:
    names = ["worker", "operation"]
    batches = CounterMetricFamily("iconotext_batches", "Batches answered.", labels=names)
    items = CounterMetricFamily("iconotext_batch_items", "Items in them.", labels=names)
    for worker, info in fleet.workers:
        for operation, sizes in info.get("engine", {}).get("batches", {}).items():
            batches.add_metric([worker, operation], sum(sizes.values()))
            items.add_metric([worker, operation], sum(int(size) * count for size, count in sizes.items()))
    yield from (batches, items)

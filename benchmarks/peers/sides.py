"""The sides of the comparison: what each runs, and how it is asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import variables, venvs
from client.stack.valkey import Valkey

ROOT = Path(__file__).parents[2]
_CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a side runs."""

    folder: Path
    port: int
    model: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """One of a side's programs."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    #: Whether it is killed when the side is: what computes, not what others keep for it.
    doomed: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One way to serve the model."""

    title: str
    #: Its environment under `.venvs/`; None: this project's own.
    venv: str | None
    #: How it is asked: see `dialects.dialect`.
    dialect: tuple[str, str]
    programs: Callable[[Place], list[Program]]
    #: How it is asked so that it acknowledges first and is asked for the answer then; None: it cannot.
    promises: tuple[str, str] | None = None
    #: What is killed, in the report's words.
    killed: str = "the server and all its processes"


def _model(place: Place, threads: int) -> dict[str, str]:
    return {
        variables.MODEL: str(place.model),
        variables.PORT: str(place.port),
        variables.THREADS: str(threads),
        # For what does not ask: numpy's BLAS, and Ray, which would set it to a replica's CPUs.
        "OMP_NUM_THREADS": str(threads),
    }


def _ours(place: Place) -> list[Program]:
    up = ("-m", "client", "up", "--profile", "starter", "--workers", "1")
    where = ("--port", str(place.port), "--data-dir", str(place.folder / "data"))
    # A seat for every request in flight; the default of 32 is for a laptop's browser.
    env = {"ICONOTEXT_API_THREADS": "96"}
    return [Program(name="iconotext", argv=(sys.executable, *up, *where), env=env)]


def _celery(place: Place) -> list[Program]:
    """Celery's "First steps" and Flask's "Background Tasks with Celery", for two cores.

    As many prefork children as cores (Celery's default), each with a session of one thread; the rest of its
    settings are defaults. gunicorn's threads serve the polls, which wait for nothing.
    """
    python = venvs.python_of("celery")
    valkey = Valkey(place.folder / "valkey", place.folder / "valkey-server.log")
    env = {**_model(place, 1), variables.REDIS: valkey.url}
    worker = ("-m", "celery", "-A", "benchmarks.peers.celery_template:celery", "worker")
    web = ("-m", "gunicorn", "benchmarks.peers.celery_template:flask", "--no-control-socket")
    web_options = ("--bind", f"127.0.0.1:{place.port}", "--worker-class", "gthread", "--threads", "8")
    worker_options = ("--concurrency", str(_CORES), "--loglevel", "WARNING")
    return [
        Program(name="valkey", argv=valkey.command({}).argv, doomed=False),
        Program(name="worker", argv=(str(python), *worker, *worker_options), env=env),
        Program(name="web", argv=(str(python), *web, *web_options), env=env, doomed=False),
    ]


def _litserve(place: Place) -> list[Program]:
    argv = (str(venvs.python_of("litserve")), "-m", "benchmarks.peers.litserve_server")
    return [Program(name="litserve", argv=argv, env=_model(place, 1))]


def _bentoml(place: Place) -> list[Program]:
    bentoml = venvs.python_of("bentoml").with_name("bentoml")
    service = "benchmarks.peers.bentoml_service:Embedding"
    argv = (str(bentoml), "serve", service, "--host", "127.0.0.1", "--port", str(place.port))
    env = {**_model(place, 1), "BENTOML_HOME": str(place.folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    return [Program(name="bentoml", argv=argv, env=env)]


def _ray(place: Place) -> list[Program]:
    """Ray Serve's "Enable High Throughput": HAProxy in front, and the throughput-optimized settings."""
    # The names of sockets may have 97 characters, and 56 of them are a hash.
    proxy = place.folder / "h"
    env = {
        **_model(place, 1),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "metrics.sock"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    argv = (str(venvs.python_of("ray")), "-m", "benchmarks.peers.ray_serve", str(place.folder / "ray"))
    return [Program(name="ray", argv=argv, env=env)]


#: The poll of the Celery template: tutorials take 1 s, which costs it throughput with 64 in flight.
_POLL_S = "0.5"

OURS = Side(
    title="iconotext",
    venv=None,
    dialect=("ours", "wait"),
    programs=_ours,
    promises=("ours", "accept"),
    killed="everything: API, worker, Valkey, supervisor",
)
PEERS = (
    Side(
        title="Celery template",
        venv="celery",
        dialect=("polled", _POLL_S),
        programs=_celery,
        promises=("polled", _POLL_S),
        killed="the worker and its children; Redis and Flask live on",
    ),
    Side(title="LitServe", venv="litserve", dialect=("direct", "/predict"), programs=_litserve),
    Side(title="BentoML", venv="bentoml", dialect=("batched", "/embed"), programs=_bentoml),
    Side(title="Ray Serve", venv="ray", dialect=("direct", "/"), programs=_ray),
)

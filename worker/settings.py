"""What operators may set for a worker, beside `shared/settings.py`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from shared.jobs import DEFAULT_POOL
from shared.settings import Duration, SharedSettings
from worker.machine import cores

#: As Standard Webhooks has them: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
_WEBHOOK_WAITS = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)


class WorkerSettings(SharedSettings):
    """One worker process: one device, the jobs in flight on it, the children that decode for it."""

    #: The pools whose jobs this worker takes, separated by commas.
    pools: Annotated[tuple[str, ...], NoDecode] = (DEFAULT_POOL,)
    #: `auto` takes the first CUDA device, or else the CPU; `cpu`, `cuda:1`.
    device: str = "auto"
    #: Jobs in flight at once. More jobs make larger batches; each costs a thread and its pictures.
    slots: int = Field(default=32, ge=1, le=512)
    #: What runs the models: `auto` measures at the first start which is fastest here, and remembers it.
    runtime: Literal["auto", "eager", "bf16", "compiled", "onnx"] = "auto"
    #: Largest batch of one model call, in items; below it, the size that was measured to be fastest.
    max_batch: int = Field(default=256, ge=1, le=4096)
    #: Largest batch of one model call, in pixels: large pictures make smaller batches.
    batch_pixels: int = Field(default=32_000_000, ge=1)
    #: Longest that an item waits for company while the device is idle and other jobs are on their way.
    batch_wait: Duration = timedelta(milliseconds=5)
    #: Child processes that decode pictures.
    decoders: int = Field(default_factory=cores, ge=1, le=64)
    #: Address space of one decode child, in bytes.
    decode_memory_bytes: int = Field(default=2 * 2**30, gt=0)
    #: Longest that one picture may take to decode.
    decode_time: Duration = timedelta(seconds=20)
    #: Films decoded at once, each in a child of its own.
    films: int = Field(default_factory=cores, ge=1, le=64)
    #: CPU time that one film may take to decode; the wall time of one of its frames is `decode_time`.
    film_time: Duration = timedelta(hours=1)
    #: Between two renewals of the leases; at most a third of the lease.
    heartbeat: Duration | None = None
    #: Between two looks into SQL when no hint comes.
    poll: Duration = timedelta(seconds=1)
    #: Between two rounds of the reconciler.
    reconcile: Duration = timedelta(seconds=5)
    #: How long a stopping worker lets its jobs run before it hands them back.
    drain: Duration = timedelta(seconds=20)
    #: A model call longer than this ends the process: its stacks are dumped, its jobs go to others.
    stuck_after: Duration = timedelta(minutes=10)
    #: Memory for models on the device, in bytes; those used least recently give way. Default: nine tenths of
    #: a GPU's, two thirds of what the process may use of the host's.
    device_memory_bytes: int | None = Field(default=None, gt=0)
    #: Resident memory past which the process ends itself, drained, for a fresh one to take its place.
    #: Default: nine tenths of the container's limit, where there is one.
    recycle_bytes: int | None = Field(default=None, gt=0)
    #: How long a blob that nobody names is left alone: a request that will name it may be under way.
    blob_grace: Duration = timedelta(hours=1)
    #: How long one try to tell a webhook may take, from the connection to the answer.
    webhook_timeout: Duration = timedelta(seconds=15)
    #: Before the second try, the third and so on, about so long is waited, in seconds, separated by commas;
    #: when the last one failed too, the message is given up.
    webhook_waits: Annotated[tuple[Duration, ...], NoDecode] = _WEBHOOK_WAITS
    #: How long fetching one picture by URL may take, from its name to its last byte, redirects included.
    fetch_time: Duration = timedelta(seconds=20)
    #: And one film.
    fetch_film_time: Duration = timedelta(minutes=5)
    #: Download models of the hub that are missing at start; else `iconotext models pull` is to be run before.
    pull_models: bool = False
    #: Where fitted projections and the like are kept. Default: `cache/` under `data_dir`.
    cache_dir: Path | None = None

    @field_validator("pools", "webhook_waits", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("pools")
    @classmethod
    def _at_least_one(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one pool")
        return value

    @model_validator(mode="after")
    def _heartbeat_within_lease(self) -> WorkerSettings:
        if self.heartbeat is not None and self.heartbeat > self.lease / 3:
            raise ValueError(
                f"heartbeat of {self.heartbeat.total_seconds():g} s; at most a third of the lease"
            )
        return self

    @property
    def resolved_heartbeat(self) -> timedelta:
        """Return the time between two heartbeats, a third of the lease when none was set."""
        return self.heartbeat or self.lease / 3

    @property
    def resolved_cache_dir(self) -> Path:
        """Return the cache folder, one under `data_dir` when none was set."""
        return self.cache_dir or self.data_dir / "cache"

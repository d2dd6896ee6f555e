"""What operators may set for the HTTP side, besides what both sides share."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from shared.settings import Duration, SharedSettings


class ApiSettings(SharedSettings):
    """`ICONOTEXT_API_HOST`, `ICONOTEXT_API_PORT` and so on; frozen, read once by `api.app.create_app`."""

    #: Where the server listens. Anything but loopback asks for keys.
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=1, le=65_535)
    #: Threads of one server process; requests that wait for a job occupy them, so a few always stay free.
    api_threads: int = Field(default=1_024, ge=2, le=16_384)
    #: Connections of one server process, with those that send nothing.
    api_connections: int = Field(default=8_192, ge=16, le=1_000_000)
    #: For the whole head of a request, from its first byte.
    api_head_timeout: Duration = timedelta(seconds=10)
    #: A body must come at so many bytes a second, once as much time has passed.
    api_body_rate: int = Field(default=4_096, ge=1)
    #: A connection on which nothing moves for so long is closed.
    api_stall_timeout: Duration = timedelta(seconds=30)
    #: Between two comments that keep a quiet event stream alive.
    api_heartbeat: Duration = timedelta(seconds=15)
    #: Ask every caller for a key. Default: where other machines reach us, unless `allow_unauthenticated`.
    require_keys: bool | None = None
    #: Serve whoever can reach a public address, without keys.
    allow_unauthenticated: bool = False
    #: Comma-separated names this service answers to, besides the loopback names.
    allowed_hosts: str = ""
    #: The longest a request may wait for a job.
    api_max_wait: Duration = timedelta(seconds=60)
    #: Time between two looks at the jobs that requests wait for: one query for all of them.
    api_watch_interval: Duration = timedelta(milliseconds=100)

    #: Jobs that may wait to be started; one more is refused. Of one tenant, and of all.
    max_queued_jobs: int = Field(default=100_000, ge=1)
    max_queued_jobs_of_all: int = Field(default=200_000, ge=1)
    #: What one tenant may do a minute, and keep, unless it has quotas of its own; 0: as much as it likes.
    requests_per_minute: int = Field(default=0, ge=0)
    jobs_per_minute: int = Field(default=0, ge=0)
    max_stored_bytes: int = Field(default=0, ge=0)
    #: Bytes of the inputs of those jobs. Of one tenant, and of all.
    max_queued_bytes: int = Field(default=32 * 2**30, ge=1)
    max_queued_bytes_of_all: int = Field(default=64 * 2**30, ge=1)
    #: Free bytes, on the disks of the blobs and of SQLite, below which nothing is accepted.
    disk_reserve_bytes: int = Field(default=512 * 2**20, ge=0)

    @property
    def host_names(self) -> frozenset[str]:
        """Return `allowed_hosts` as lower-case names."""
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip())

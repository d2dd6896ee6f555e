"""What operators may set for the HTTP side, besides what both sides share."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from shared.settings import Duration, SharedSettings


class ApiSettings(SharedSettings):
    """`ICONOTEXT_API_HOST`, `ICONOTEXT_API_PORT` and so on; frozen, read once by `api.app.create_app`."""

    #: Where the server listens. Anything but loopback needs keys, or `allow_unauthenticated`.
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=1, le=65_535)
    #: Threads of one server process; requests that wait for a job occupy them, so a few always stay free.
    api_threads: int = Field(default=96, ge=2, le=1_000)
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
    #: Bytes of the inputs of those jobs. Of one tenant, and of all.
    max_queued_bytes: int = Field(default=32 * 2**30, ge=1)
    max_queued_bytes_of_all: int = Field(default=64 * 2**30, ge=1)
    #: Free bytes, on the disks of the blobs and of SQLite, below which nothing is accepted.
    disk_reserve_bytes: int = Field(default=512 * 2**20, ge=0)

    @property
    def host_names(self) -> frozenset[str]:
        """Return `allowed_hosts` as lower-case names."""
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip())

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

    @property
    def host_names(self) -> frozenset[str]:
        """Return `allowed_hosts` as lower-case names."""
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip())

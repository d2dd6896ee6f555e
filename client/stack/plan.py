"""What `iconotext up` is asked to run, and how each process is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.errors import StackFailed
from client.stack.devices import cores, devices
from client.stack.processes import Command, fresh_log

#: Threads and connections of the API where ICONOTEXT_API_THREADS and ICONOTEXT_API_CONNECTIONS say nothing.
_API_THREADS = "1024"
_API_CONNECTIONS = "8192"
#: How long the API may finish its answers when it is stopped; long-polls are cut off.
API_GRACE_S = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One stack, before anything of it runs."""

    data_dir: Path
    host: str = "127.0.0.1"
    #: 0: any free one.
    port: int = 8000
    #: Take any free port when this one is taken.
    port_may_differ: bool = False
    workers: int = 1
    #: The device of each worker, in turn; empty: as the environment says.
    devices: tuple[str, ...] = ()
    #: The pools whose jobs the workers take, separated by commas; None: as the environment says.
    pools: str | None = None
    #: The profile whose models the workers load; None: as the environment says.
    profile: str | None = None
    #: A manifest that goes before the profile's own; None: as the environment says.
    manifest: Path | None = None
    #: A Redis of the operator's own; None: embed a Valkey.
    redis_url: str | None = None
    #: How long everything may take until it is ready.
    start_s: float = 300.0

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def record(self) -> Path:
        """Return the file that says what runs where, while it runs."""
        return self.data_dir / "up.json"

    def environment(self, redis_url: str, port: int) -> dict[str, str]:
        """Return the environment of every process of the service."""
        env = {
            **os.environ,
            "ICONOTEXT_DATA_DIR": str(self.data_dir),
            "ICONOTEXT_REDIS_URL": redis_url,
            "ICONOTEXT_API_HOST": self.host,
            "ICONOTEXT_API_PORT": str(port),
            # Logs that arrive when they are written.
            "PYTHONUNBUFFERED": "1",
        }
        env.setdefault("ICONOTEXT_API_THREADS", _API_THREADS)
        env.setdefault("ICONOTEXT_API_CONNECTIONS", _API_CONNECTIONS)
        if self.profile is not None:
            env["ICONOTEXT_PROFILE"] = self.profile
        if self.manifest is not None:
            env["ICONOTEXT_MANIFEST"] = str(self.manifest)
        if self.pools is not None:
            env["ICONOTEXT_POOLS"] = self.pools
        if self.workers > 1:
            # Each would otherwise take every core for itself.
            env.setdefault("OMP_NUM_THREADS", str(max(1, cores() // self.workers)))
        return env

    def migration(self, env: Mapping[str, str]) -> Command:
        return self._command("database", ("-m", "client", "db", "upgrade"), env)

    def api(self, env: Mapping[str, str], listener: int) -> Command:
        """Return the API's command; it serves the socket that it inherits."""
        options = {
            "--bind": f"fd://{listener}",
            "--worker-class": "api.server.Worker",
            "--worker-connections": env["ICONOTEXT_API_CONNECTIONS"],
            "--workers": "1",
            "--threads": env["ICONOTEXT_API_THREADS"],
            "--graceful-timeout": str(API_GRACE_S),
            # Longer than any client keeps an idle connection, so that no request meets a closing one.
            "--keep-alive": "75",
        }
        words = [word for option in options.items() for word in option]
        argv = ("-m", "gunicorn", "api.app:create_app()", "--no-control-socket", *words)
        return self._command("api", argv, env, fds=(listener,))

    def worker(self, number: int, env: Mapping[str, str]) -> Command:
        """Return the command of one worker, counted from 1."""
        if self.devices:
            env = {**env, "ICONOTEXT_DEVICE": self.devices[(number - 1) % len(self.devices)]}
        return self._command(f"worker-{number}", ("-m", "worker"), env)

    def _command(
        self, name: str, argv: tuple[str, ...], env: Mapping[str, str], fds: tuple[int, ...] = ()
    ) -> Command:
        log = fresh_log(self.logs / f"{name}.log")
        return Command(name=name, argv=(sys.executable, *argv), env=env, log=log, fds=fds)


def make_plan(
    *,
    data_dir: Path | None,
    host: str,
    port: int,
    workers: int | None,
    profile: str | None,
    device: str | None = None,
    pools: str | None = None,
    manifest: Path | None = None,
) -> Plan:
    """Return the plan that options and `ICONOTEXT_*` variables make together; options win.

    Args:
        workers: None: one for each CUDA device, and one where there is none.
        device: `auto`, `cpu` or `cuda:N` for all of them.

    Raises:
        StackFailed: the service is not installed here, or a value cannot be used.
    """
    try:
        from shared.errors import BadConfiguration  # noqa: PLC0415  # the client alone has no `shared` extra
        from shared.settings import SharedSettings, read  # noqa: PLC0415
    except ImportError as error:
        raise StackFailed(
            f"the service is not installed here ({error}); pip install 'iconotext[all]'"
        ) from error
    try:
        settings = read(SharedSettings)
    except BadConfiguration as error:
        raise StackFailed(error.message) from error
    each = devices(device, workers, os.environ)
    return Plan(
        data_dir=(data_dir or settings.data_dir).expanduser().resolve(),
        host=host,
        port=port,
        workers=len(each),
        devices=each,
        pools=pools,
        profile=profile,
        manifest=manifest.expanduser().resolve() if manifest is not None else None,
        redis_url=settings.redis_url if "redis_url" in settings.model_fields_set else None,
    )

"""The whole service on a stage: servers, API, workers, a sink for webhooks."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from client.stack.ports import listen, url_of
from client.stack.processes import Command
from tests.chaos.servers import Postgres, Queue, Sqlite
from tests.chaos.sink import Sink
from tests.chaos.stage import Program, Stage

LEASE_S = 5.0
_SETTINGS = {
    "ICONOTEXT_PROFILE": "fake",
    "ICONOTEXT_LEASE": str(LEASE_S),
    "ICONOTEXT_RECONCILE": "1",
    "ICONOTEXT_POLL": "0.5",
    "ICONOTEXT_SLOTS": "8",
    "ICONOTEXT_DECODERS": "1",
    "ICONOTEXT_DRAIN": "5",
    "ICONOTEXT_BLOB_GRACE": "20",
    "ICONOTEXT_WEBHOOKS": "true",
    "ICONOTEXT_WEBHOOK_PRIVATE": "true",
    "ICONOTEXT_DISK_RESERVE_BYTES": "0",
    "ICONOTEXT_LOG_FORMAT": "json",
    "OMP_NUM_THREADS": "1",
}
_API_THREADS = "48"
_READY_S = 60.0


class World:
    """One service, for one run."""

    def __init__(
        self,
        folder: Path,
        stage: Stage,
        database: Postgres | Sqlite,
        blobs: Path,
        settings: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self.stage = stage
        self.database = database
        self.sink = Sink()
        self.queue = Queue(stage, folder, folder / "logs")
        self._listener = listen("127.0.0.1", 0)
        self.url = url_of(self._listener)
        self.blobs = blobs
        self.settings = {
            **_SETTINGS,
            "ICONOTEXT_DATA_DIR": str(folder),
            "ICONOTEXT_BLOB_URL": self.blobs.as_uri(),
            "ICONOTEXT_DATABASE_URL": database.url,
            "ICONOTEXT_REDIS_URL": self.queue.url,
            "ICONOTEXT_API_PORT": str(self._listener.getsockname()[1]),
            "ICONOTEXT_API_THREADS": _API_THREADS,
            **settings,
        }

    @property
    def workers(self) -> list[Program]:
        """Return the workers, by name."""
        return [
            self.stage.programs[name] for name in sorted(self.stage.programs) if name.startswith("worker")
        ]

    @property
    def api(self) -> Program:
        return self.stage.programs["api"]

    def start(self, workers: int, failpoints: str = "", api_failpoints: str = "") -> None:
        """Start the API and the workers, and return once they are ready."""
        self.stage.add("api", self.api_command(api_failpoints))
        for number in range(1, workers + 1):
            self.stage.add(f"worker-{number}", self.worker_command(f"worker-{number}", failpoints))
        self.wait_until_ready(workers)

    def api_command(self, failpoints: str = "", *, folder: Path | None = None) -> Command:
        """Return how the API is started; `folder` holds the code of another release."""
        options = {
            **({} if folder is None else {"--chdir": str(folder)}),
            "--bind": f"fd://{self._listener.fileno()}",
            "--worker-class": "gthread",
            "--workers": "1",
            "--threads": _API_THREADS,
            "--graceful-timeout": "5",
            "--keep-alive": "75",
        }
        words = [word for option in options.items() for word in option]
        argv = ("-m", "gunicorn", "api.app:create_app()", "--no-control-socket", *words)
        env = {**self.settings, "ICONOTEXT_FAILPOINTS": failpoints}
        return self.stage.command("api", argv, env, fds=(self._listener.fileno(),))

    def worker_command(self, name: str, failpoints: str = "") -> Command:
        """Return how a worker is started."""
        env = {**self.settings, "ICONOTEXT_FAILPOINTS": failpoints}
        return self.stage.command(name, ("-m", "worker"), env)

    def wait_until_ready(self, workers: int, seconds: float = _READY_S) -> None:
        """Return once the API answers and so many workers have said that they live."""
        deadline = time.monotonic() + seconds
        with httpx.Client(base_url=self.url, timeout=2.0) as client:
            while time.monotonic() < deadline:
                try:
                    answer = client.get("/readyz")
                    if answer.status_code == 200 and answer.json()["checks"]["workers"] >= workers:
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(0.1)
        raise TimeoutError(f"the service was not ready in {seconds:g} s; see {self.stage.logs}")

    def heal(self) -> None:
        """End every fault that lasts."""
        self.queue.proxy.heal()
        if self.database.proxy is not None:
            self.database.proxy.heal()
        for program in list(self.stage.programs.values()):
            program.send(signal.SIGCONT)

    def close(self) -> None:
        """End everything; what the run needs to look at has been looked at."""
        self.stage.close()
        self.sink.close()
        self.queue.close()
        self.database.close()
        self._listener.close()


@contextmanager
def world(
    kind: str,
    *,
    settings: Mapping[str, str] | None = None,
    folder: Path | None = None,
    blobs: Path | None = None,
) -> Iterator[World]:
    """Build a service on `postgresql` or `sqlite`.

    Args:
        settings: `ICONOTEXT_*` variables of every process.
        folder: for logs, SQLite and the rest, and stays; None: a new one, removed afterwards.
        blobs: theirs; None: inside the folder.
    """
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iconotext-chaos-")))
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        stage = Stage(folder / "logs")
        database = Postgres() if kind == "postgresql" else Sqlite(folder)
        built = World(folder, stage, database, blobs or folder / "blobs", settings or {})
        stack.callback(built.close)
        yield built

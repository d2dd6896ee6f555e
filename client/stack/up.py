"""The supervisor: starts the stack in order, keeps it running, stops it in order."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from client.errors import IconotextError, RequestRefused, StackFailed
from client.sdk import DEFAULT_URL, Client
from client.stack.board import Board
from client.stack.guardian import Guardian
from client.stack.lock import DataDirLock
from client.stack.plan import API_GRACE_S, Plan
from client.stack.ports import listen, url_of
from client.stack.processes import Death, Process, Service, tail
from client.stack.signals import Signals
from client.stack.valkey import Valkey

#: Between two looks at what is starting, and at what is running (a death wakes us sooner).
_GLANCE_S = 0.1
_ROUND_S = 1.0
#: One question whether the service is ready; we are deaf for as long.
_PROBE_S = 1.0
#: How long workers may finish or hand back their jobs; a worker's own limit is shorter.
_DRAIN_S = 30.0
#: How long killed processes may take to vanish, and Valkey to stop.
_LAST_S = 5.0
#: Ports to try for Valkey.
_PORT_TRIES = 5

#: The status of a command that was stopped before it had done its work.
_INTERRUPTED = 130

#: What to do once the stack is ready, given its URL; its answer is the exit status.
Errand = Callable[[str], int]


class Stack:
    """Everything that `iconotext up` runs. Used once, in the main thread."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._signals = Signals()
        self._valkey: Service | None = None
        self._api: Service | None = None
        self._workers: list[Service] = []
        self._ready = False
        self.url = ""

    def run(self, errand: Errand | None = None, *, stay: bool = True) -> int:
        """Start everything, keep it running until told to stop, stop it, and return the exit status.

        Args:
            errand: run in a thread once all is ready; its status is ours.
            stay: go on after the errand.

        Raises:
            StackFailed: it cannot start, or a process keeps dying.
        """
        plan = self._plan
        with contextlib.ExitStack() as stack:
            # Killed without notice, a stack needs up to this long until its guardian has ended the rest.
            lock = DataDirLock(plan.data_dir, patience_s=_DRAIN_S)
            stack.callback(lock.close)
            self._listener = stack.enter_context(_listen(plan))
            stack.enter_context(self._signals)
            self.url = url_of(self._listener)
            self._guardian = Guardian(grace_s=_DRAIN_S, held=[lock.fd])
            stack.callback(self._guardian.close)
            # A stack that was killed has left its own behind.
            plan.record.unlink(missing_ok=True)
            stack.callback(plan.record.unlink, missing_ok=True)
            stack.callback(self._stop)
            with Board(self._console) as board:
                if not self._start(board):
                    return _INTERRUPTED
            self._greet()
            return self._watch(errand, stay)

    def _start(self, board: Board) -> bool:
        """Return True once all is ready, False when told to stop before that."""
        plan, deadline = self._plan, time.monotonic() + self._plan.start_s
        if plan.redis_url is None:
            redis_url = self._start_valkey(board, deadline)
        else:
            redis_url = plan.redis_url
            board.show("redis", "yours, as ICONOTEXT_REDIS_URL says", ready=True)
        env = plan.environment(redis_url, self._listener.getsockname()[1])
        if not self._migrate(board, env, deadline):
            return False
        self._api = Service(plan.api(env, self._listener.fileno()), self._guardian)
        self._workers = [
            Service(plan.worker(number, env), self._guardian) for number in range(1, plan.workers + 1)
        ]
        for service in (self._api, *self._workers):
            service.start()
        self._record()
        board.show("api", "starting")
        board.show("workers", f"loading models, 0 of {plan.workers} ready")
        with Client(self.url, timeout=_PROBE_S) as client:
            ready = self._until(lambda: self._is_ready(client, board), deadline, "the service is not ready")
        self._ready = ready
        self._record()
        return ready

    def _start_valkey(self, board: Board, deadline: float) -> str:
        folder = self._plan.data_dir / "valkey"
        board.show("valkey", "starting")
        for _ in range(_PORT_TRIES):
            valkey = Valkey(folder, self._plan.logs / "valkey.log")
            self._valkey = Service(valkey.command(os.environ), self._guardian)
            self._valkey.start()
            try:
                self._until(valkey.answers, deadline, "valkey does not answer")
            except StackFailed:
                if valkey.lost_its_port():
                    continue
                raise
            board.show("valkey", f"on port {valkey.port}", ready=True)
            return valkey.url
        raise StackFailed(
            f"no port for valkey in {_PORT_TRIES} tries; set ICONOTEXT_REDIS_URL to a server of yours"
        )

    def _migrate(self, board: Board, env: dict[str, str], deadline: float) -> bool:
        board.show("database", "upgrading")
        process = Process(self._plan.migration(env), self._guardian)
        try:
            done = self._until(lambda: process.ended() is not None, deadline, "the migration does not end")
        finally:
            status = process.ended()
            process.kill(_LAST_S)
        if done and status != 0:
            raise StackFailed("the database cannot be upgraded", tail(process.command.log))
        board.show("database", "ready", ready=done)
        return done

    def _is_ready(self, client: Client, board: Board) -> bool:
        try:
            health = client.health()
        except IconotextError:
            return False
        wanted = self._plan.workers
        answers = health.checks.get("database") == "ok"
        board.show("api", "ready" if answers else "waiting for the database", ready=answers)
        enough = health.ready_workers >= wanted
        words = "ready" if enough else f"loading models, {health.ready_workers} of {wanted} ready"
        board.show("workers", words, ready=enough)
        return answers and enough

    def _until(self, condition: Callable[[], bool], deadline: float, complaint: str) -> bool:
        """Return True when the condition holds, False when told to stop; whoever dies meanwhile ends it."""
        while not condition():
            if self._signals.stops:
                return False
            for service in self._services():
                death = service.tend()
                if death is not None and not death.is_wanted:
                    raise StackFailed(f"{death} while starting", tail(service.command.log))
            if time.monotonic() > deadline:
                raise StackFailed(
                    f"{complaint} after {self._plan.start_s:g} s; see the logs in {self._plan.logs}"
                )
            self._signals.wait(_GLANCE_S)
        return True

    def _watch(self, errand: Errand | None, stay: bool) -> int:
        """Keep everything running until told to stop, or until the errand is done; return the exit status."""
        outcome: list[int] = []
        if errand is not None:
            threading.Thread(target=self._do, args=(errand, outcome), name="errand", daemon=True).start()
        while not self._signals.stops and (stay or not outcome):
            for service in self._services():
                if (death := service.tend()) is not None:
                    self._report(death, service)
            groups = [service.process.pid for service in self._services() if service.process is not None]
            if self._guardian.renew(groups):
                self._console.print("the guardian died; another took its place", style="yellow")
            self._record()
            self._signals.wait(_GLANCE_S if len(groups) < len(self._services()) else _ROUND_S)
        if errand is None:
            return 0
        return outcome[0] if outcome else _INTERRUPTED

    def _do(self, errand: Errand, outcome: list[int]) -> None:
        status = 1
        try:
            status = errand(self.url)
        except IconotextError as error:
            if not self._signals.stops:
                self._console.print(str(error), style="red")
        finally:
            outcome.append(status)
            with contextlib.suppress(OSError):
                self._signals.wake()

    def _report(self, death: Death, service: Service) -> None:
        log = service.command.log
        if death.pause_s is None:
            raise StackFailed(f"{death} again and again; giving up", tail(log))
        if death.is_wanted:
            self._console.print(f"{death}; another takes its place", style="dim")
            return
        when = f"in {death.pause_s:g} s" if death.pause_s else "now"
        self._console.print(f"{death}; starting it again {when}; its log is {log}", style="bold yellow")

    def _stop(self) -> None:
        """Stop in order: no new jobs, then the work, then the hints. A second signal kills at once."""
        self._listener.close()
        self._signals.wait(0)
        patience = self._signals.stops
        if self._workers:
            self._console.print("stopping (Ctrl-C now kills)", highlight=False)
        if self._console.is_terminal:
            # An errand that is cut off leaves its progress bar's doings.
            self._console.show_cursor()
        stages: tuple[tuple[Iterable[Service | None], float], ...] = (
            ([self._api], API_GRACE_S + _LAST_S),
            (self._workers, _DRAIN_S),
            ([self._valkey], _LAST_S),
        )
        for services, limit_s in stages:
            present = [service for service in services if service is not None]
            _send(present, signal.SIGTERM)
            deadline = time.monotonic() + limit_s
            while any(service.is_running() for service in present) and time.monotonic() < deadline:
                self._signals.wait(_GLANCE_S)
                if self._signals.stops > patience:
                    deadline = 0.0
            if self._signals.stops > patience:
                break
        self._kill(self._services())

    def _kill(self, services: Iterable[Service]) -> None:
        left = [service for service in services if service.is_running()]
        _send(left, signal.SIGKILL)
        deadline = time.monotonic() + _LAST_S
        while any(service.is_running() for service in left) and time.monotonic() < deadline:
            self._signals.wait(_GLANCE_S)

    def _services(self) -> list[Service]:
        return [service for service in (self._valkey, self._api, *self._workers) if service is not None]

    def _greet(self) -> None:
        option = "" if self.url == DEFAULT_URL else f" --url {self.url}"
        where = f"ICONOTEXT_DATA_DIR={shlex.quote(str(self._plan.data_dir))} "
        key = f"  keys     every caller needs one: {where}iconotext keys create NAME\n"
        words = (
            f"\n[bold]Iconotext is up:[/] {self.url}\n{key if self._asks_for_keys() else ''}"
            f"  try      iconotext{option} submit embed --text 'a cup of coffee' --wait\n"
            f"  logs     {self._plan.logs}\n"
            "  stop it  Ctrl-C\n"
        )
        self._console.print(words, highlight=False, soft_wrap=True)

    def _asks_for_keys(self) -> bool:
        with Client(self.url, timeout=_PROBE_S) as client:
            try:
                client.tasks()
            except RequestRefused as error:
                return error.code == "unauthorized"
            except IconotextError:
                # The greeting is no place to complain.
                return False
        return False

    def _record(self) -> None:
        """Write down what runs where, for tests and other programs of this user."""
        processes = {
            service.name: service.process.pid for service in self._services() if service.process is not None
        }
        words = {
            "pid": os.getpid(),
            "guardian": self._guardian.pid,
            "url": self.url,
            "ready": self._ready,
            "processes": processes,
        }
        write_record(self._plan.record, words)


def _listen(plan: Plan) -> socket.socket:
    try:
        return listen(plan.host, plan.port)
    except StackFailed:
        if not plan.port_may_differ:
            raise
        return listen(plan.host, 0)


def write_record(path: Path, words: dict[str, object]) -> None:
    """Replace the file as a whole, so that nobody reads half of it."""
    text = json.dumps(words, indent=1)
    with contextlib.suppress(OSError):
        if path.read_text() == text:
            return
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)


def _send(services: Iterable[Service], number: signal.Signals) -> None:
    for service in services:
        service.send(number)

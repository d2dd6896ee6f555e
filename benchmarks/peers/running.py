"""One side while it runs: started, asked, timed, killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.holder import cpu_s
from benchmarks.peers.sides import ROOT, Place, Program, Side

IN_FLIGHT = 64
#: Until a server has loaded its model and answers, on a busy machine.
_READY_WITHIN_S = 180.0
_GONE_WITHIN_S = 30.0


class DoesNotRun(Exception):
    """The side did not start, or did not answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One window of load on one side."""

    #: Of the requests that were answered within the window.
    latencies_s: list[float]
    seconds: float
    #: Processor time of all of the side's processes, and of the load.
    cpu_s: float
    load_cpu_s: float
    #: What it turned away, the first few.
    refused: list[str]

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What became of the requests that were in flight when a side was killed."""

    in_flight: int
    #: Of these, the ones that the side had acknowledged with an id to ask for.
    promised: int
    #: Of the promised ones, those that the side answered when it was back, without being sent anything again.
    answered: int


@dataclass(slots=True)
class Running:
    """A side's processes, for as long as the `with` block lasts."""

    side: Side
    place: Place
    _programs: list[Program] = field(default_factory=list)
    _held: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self._programs = self.side.programs(self.place)
        for program in self._programs:
            self._start(program)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._held):
            self._kill(name)

    def vectors(self) -> list[str]:
        """Return the vectors of the demo's photos once the side is ready.

        Raises:
            DoesNotRun: it does not answer; says the end of its log.
        """
        return list(self._load("vectors", patience_s=_READY_WITHIN_S)["vectors"])

    def timing(self, *, seed: int, warm_up_s: float, seconds: float) -> Timing:
        """Return what the side did under the load."""
        spent: dict[str, float] = {}

        def look(word: str) -> None:
            spent[word] = cpu_s([held.pid for held in self._held.values()])

        done = self._load("time", hears=look, seed=seed, warm_up_s=warm_up_s, seconds=seconds)
        return Timing(
            latencies_s=done["latencies_s"],
            seconds=seconds,
            cpu_s=spent["end"] - spent["begin"],
            load_cpu_s=done["cpu_s"],
            refused=done["refused"],
        )

    def loss(self, *, seed: int, patience_s: float) -> Loss:
        """Kill the side in the middle of the load, start it again, and return what that cost."""

        def kill(word: str) -> None:
            if word != "steady":
                return
            doomed = [program for program in self._programs if program.doomed]
            for program in doomed:
                self._kill(program.name)
            if self.side.promises is not None:
                for program in doomed:
                    self._start(program)

        said = self._load("kill", hears=kill, seed=seed, patience_s=patience_s)
        return Loss(in_flight=said["in_flight"], promised=said["promised"], answered=said["answered"])

    def _start(self, program: Program) -> None:
        command = (sys.executable, "-m", "benchmarks.peers.holder", *program.argv)
        with (self.place.folder / f"{program.name}.log").open("ab") as log:
            self._held[program.name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env=_environment(program.env),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill(self, name: str) -> None:
        held = self._held.pop(name)
        if held.stdin is not None:
            held.stdin.close()
        held.wait(_GONE_WITHIN_S)

    def _load(
        self, mode: str, *, hears: Callable[[str], None] | None = None, **plan: object
    ) -> dict[str, Any]:
        """Run the load, let `hears` act on what it says, and return its last line."""
        tongue = self.side.promises if mode == "kill" and self.side.promises else self.side.dialect
        words = {"port": self.place.port, "dialect": tongue, "mode": mode, "in_flight": IN_FLIGHT, **plan}
        command = (sys.executable, "-m", "benchmarks.peers.load", json.dumps(words))
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as load:
            # Pipes, as asked for above.
            assert load.stdin is not None  # noqa: S101
            assert load.stdout is not None  # noqa: S101
            for line in load.stdout:
                said: dict[str, Any] = json.loads(line)
                if said["said"] == "done":
                    return said
                if hears is not None:
                    hears(said["said"])
                if said["said"] == "steady":
                    print(file=load.stdin, flush=True)
                if said["said"] == "waiting" and any(held.poll() is not None for held in self._held.values()):
                    load.kill()
        raise DoesNotRun(f"{self.side.title} did not answer\n{self._logs()}")

    def _logs(self) -> str:
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-1500:]}"
            for path in sorted(self.place.folder.glob("*.log"))
        )


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}

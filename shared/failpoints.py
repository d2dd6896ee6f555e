"""Faults on purpose, at named places: how tests show that nothing is lost wherever a process dies.

`ICONOTEXT_FAILPOINTS="seed=7,after_claim=kill:0.01,mid_model=sleep:3"` kills the process at one claim
in a hundred, and slows every model call. What is not named never happens.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import BadConfiguration, StoreUnavailable
from shared.settings import SharedSettings

#: The one profile that failpoints go with: it computes nothing that anybody wants.
_PROFILE = "fake"
_VARIABLE = "ICONOTEXT_FAILPOINTS"


class Failpoint(StrEnum):
    """A place where a fault can be switched on."""

    #: In the worker: it is about to ask for a job.
    BEFORE_CLAIM = "before_claim"
    #: It has a job, and has done nothing for it.
    AFTER_CLAIM = "after_claim"
    #: In the device thread, before the model answers a batch.
    MID_MODEL = "mid_model"
    #: The outcome is known, and nothing is written yet.
    AFTER_COMPUTE = "after_compute"
    #: The outcome is written, and nobody in the process has heard of it.
    AFTER_COMMIT = "after_commit"
    #: In the API: the uploads are stored, the job is not.
    API_AFTER_BLOBS = "api_after_blobs"
    #: The job is stored, and nobody has heard of it.
    API_AFTER_COMMIT = "api_after_commit"


@dataclass(frozen=True, slots=True)
class _Fault:
    act: Callable[[], object]
    #: In (0, 1].
    probability: float


class Failpoints:
    """The faults that are switched on; without any, `hit` returns at once."""

    def __init__(self, faults: Mapping[Failpoint, _Fault] | None = None, seed: str | None = None) -> None:
        """Take what `parse` read; nothing: no faults."""
        self._faults = faults or {}
        self._seed = seed
        #: Made at the first hit: a server that forks must not have its children do all the same.
        self._random: random.Random | None = None

    def hit(self, place: Failpoint) -> None:
        """Pass a place, and suffer what is switched on there.

        Raises:
            StoreUnavailable: the action is `raise`; behind a commit, its answer was lost.
        """
        if not self._faults:
            return
        fault = self._faults.get(place)
        if fault is not None and self._chance() < fault.probability:
            fault.act()

    def _chance(self) -> float:
        if self._random is None:
            seed = None if self._seed is None else f"{self._seed}:{os.getpid()}"
            self._random = random.Random(seed)  # noqa: S311  # to be repeated, not to be guarded
        return self._random.random()


#: No faults.
NONE = Failpoints()


def switched_on(settings: SharedSettings) -> Failpoints:
    """Return the faults that the settings ask for.

    Raises:
        BadConfiguration: they cannot be read, or this service does real work.
    """
    if settings.failpoints.strip() and settings.profile != _PROFILE:
        raise BadConfiguration(f"failpoints are for tests: they need ICONOTEXT_PROFILE={_PROFILE}")
    return parse(settings.failpoints)


def parse(text: str) -> Failpoints:
    """Return the faults in `place=action[:probability]`, separated by commas; `seed=N` repeats their dice.

    Actions: `kill` (SIGKILL), `stop` (SIGSTOP), `raise` (the database does not answer), `sleep:SECONDS`.

    Raises:
        BadConfiguration: names the part that cannot be read.
    """
    faults: dict[Failpoint, _Fault] = {}
    seed: str | None = None
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, words = part.partition("=")
        if name == "seed" and words:
            seed = words
            continue
        try:
            place = Failpoint(name)
            faults[place] = _fault(place, words)
        except ValueError as error:
            raise BadConfiguration(f"{_VARIABLE}: {part!r}: {_right()}") from error
    return Failpoints(faults, seed)


def _fault(place: Failpoint, words: str) -> _Fault:
    action, *numbers = words.split(":")
    act: Callable[[], object]
    match action:
        case "kill":
            act = _signalling(signal.SIGKILL)
        case "stop":
            act = _signalling(signal.SIGSTOP)
        case "raise":
            act = _raising(place)
        case "sleep":
            act = _sleeping(float(numbers.pop(0)) if numbers else -1.0)
        case _:
            raise ValueError(action)
    (probability,) = [float(number) for number in numbers] or [1.0]
    if not 0 < probability <= 1:
        raise ValueError(probability)
    return _Fault(act, probability)


def _signalling(number: signal.Signals) -> Callable[[], object]:
    return lambda: os.kill(os.getpid(), number)


def _sleeping(seconds: float) -> Callable[[], object]:
    if not 0 <= seconds < float("inf"):
        raise ValueError(seconds)
    return lambda: time.sleep(seconds)


def _raising(place: Failpoint) -> Callable[[], object]:
    def act() -> None:
        raise StoreUnavailable(f"the failpoint {place.value} says that the database does not answer")

    return act


def _right() -> str:
    places = ", ".join(place.value for place in Failpoint)
    return f"write PLACE=kill|stop|raise|sleep:SECONDS[:PROBABILITY] or seed=N, with PLACE one of {places}"

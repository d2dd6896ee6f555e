"""The fastest runtime and batch size for one operation on one device: measured once, then remembered."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from shared.jobs import Json
from worker.models.cache import alone_in, cache_path, read_checked, write_checked
from worker.models.runtimes.network import Network, Operation, Place, Runtime, Wanted
from worker.models.runtimes.parity import TOLERANCE, Expected
from worker.models.runtimes.racing import Rates, race, winner

#: Goes up whenever the same measurements would lead to another choice.
_VERSION = 2
#: Tried unasked, by kind of device; eager is the reference and always runs. Why `compiled` is not among the
#: CPU's, its module says.
_CANDIDATES: Mapping[str, tuple[Runtime, ...]] = {
    "cpu": ("eager", "bf16", "onnx"),
    "cuda": ("eager", "bf16", "compiled"),
}

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """An operation on the runtime that was chosen for it."""

    network: Network
    #: The best batch size, in items.
    batch: int


def tune(operation: Operation, place: Place, wanted: Wanted = "auto") -> Tuning:
    """Return the operation on its fastest runtime here.

    The first time on a device this takes seconds; later the choice is read from the cache. A runtime that
    fails is left out with a warning, and so is one whose answers are not eager float32's to within
    `TOLERANCE`, unless it was asked for by name.

    Raises:
        Exception: the network cannot be built, or fails in eager torch.
    """
    path = cache_path(place.cache_dir, f"{operation.name}.tuning", _decisive(operation, place, wanted))
    tuning = _remembered(path, operation, place)
    if tuning is None:
        with alone_in(place.cache_dir):
            # Another process may have measured while this one waited for its turn.
            tuning = _remembered(path, operation, place) or _measured(path, operation, place, wanted)
    return tuning


def _decisive(operation: Operation, place: Place, wanted: Wanted) -> list[Any]:
    """Return everything that a choice depends on."""
    software = [version(name) for name in ("torch", "onnxruntime", "numpy")]
    hardware = [place.device, chip(place.device), place.threads]
    made = [operation.name, operation.version, operation.revision]
    return [_VERSION, wanted, *made, *hardware, *software]


def _remembered(path: Path, operation: Operation, place: Place) -> Tuning | None:
    content = read_checked(path)
    if content is None:
        return None
    choice: Json = json.loads(content)
    network = _opened(choice["runtime"], operation, place)
    # Another fingerprint: the export that was measured is gone, and of the new one nothing is known.
    if network is None or network.fingerprint != choice["fingerprint"]:
        return None
    return Tuning(network=network, batch=choice["batch"])


def _measured(path: Path, operation: Operation, place: Place, wanted: Wanted) -> Tuning:
    # All candidates and the export share one set of weights, which is dropped with this one reference.
    operation = dataclasses.replace(operation, build=functools.cache(operation.build))
    networks = _candidates(operation, place, wanted)
    rates = race(operation, networks, place)
    name, batch = winner(rates)
    _LOG.info(
        "runtime_chosen", operation=operation.name, runtime=name, batch=batch, items_per_s=_rounded(rates)
    )
    choice = {"runtime": name, "batch": batch, "fingerprint": networks[name].fingerprint}
    write_checked(path, json.dumps(choice).encode())
    return Tuning(network=networks[name], batch=batch)


def _candidates(operation: Operation, place: Place, wanted: Wanted) -> dict[str, Network]:
    """Return what may be chosen, never nothing."""
    reference: Network = _opener("eager")(operation, place)
    expected = Expected(operation, reference)
    names = _CANDIDATES.get(place.device.partition(":")[0], ()) if wanted == "auto" else (wanted,)
    found: dict[str, Network] = {}
    for name in names:
        network = reference if name == "eager" else _opened(name, operation, place)
        if network is reference or (
            network is not None and _agrees(operation, network, expected, asked=name == wanted)
        ):
            found[name] = network
    return found or {"eager": reference}


def _agrees(operation: Operation, network: Network, expected: Expected, *, asked: bool) -> bool:
    """Return whether a network answers as eager does; one that was asked for need only answer."""
    try:
        gap = expected.difference(network)
    except Exception as error:  # noqa: BLE001  # whatever a candidate raises, eager goes on
        _LOG.warning("runtime_failed", operation=operation.name, runtime=network.runtime, error=str(error))
        return False
    agrees = gap <= TOLERANCE
    # Half precision differs by its nature; that is news only to someone who asked for it.
    log = _LOG.warning if asked and not agrees else _LOG.info
    log("runtime_compared", operation=operation.name, runtime=network.runtime, difference=gap, agrees=agrees)
    return agrees or (asked and math.isfinite(gap))


def _opened(name: Runtime, operation: Operation, place: Place) -> Network | None:
    """Return the operation on a runtime; None where that fails, and eager must do."""
    if name == "eager":
        return _opener(name)(operation, place)
    try:
        return _opener(name)(operation, place)
    except Exception as error:  # noqa: BLE001  exporters and compilers raise whatever they like
        _LOG.warning("runtime_failed", operation=operation.name, runtime=name, error=f"{error}")
        return None


def _opener(name: Runtime) -> Callable[[Operation, Place], Network]:
    """Return a runtime's `open_<name>`; imported when needed, for each brings a library of its own."""
    module = importlib.import_module(f"worker.models.runtimes.{name}")
    opener: Callable[[Operation, Place], Network] = getattr(module, f"open_{name}")
    return opener


def chip(device: str) -> str:
    """Return the model of the processor behind a device."""
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415  # on a CPU nobody needs it for this

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    # Virtual machines of one name may differ in the instructions that they offer.
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    return " ".join([found.get("model name", platform.processor()), found.get("flags", "")])


def _rounded(rates: Mapping[str, Rates]) -> Json:
    return {name: {size: round(rate) for size, rate in of.items()} for name, of in rates.items()}

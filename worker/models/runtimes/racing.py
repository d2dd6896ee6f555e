"""How fast networks are, by batch size, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from worker.models.runtimes.network import Batch, Network, Operation, Place

#: Items a second, by batch size.
Rates = dict[int, float]

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: What the engine does around one call, whatever its size: queue, wake, hand out. It belongs to each batch.
_AROUND_A_CALL_S = 0.001
#: For all networks together, at each size.
_SECONDS_A_SIZE = 0.1
_FEWEST_ROUNDS = 2
#: A longer call makes the items of others wait for more than they gain.
_LONGEST_CALL_S = 0.1
#: A network this far behind at one size does not run at the next.
_HOPELESS = 0.5
#: Of the best rate; the smallest batch that reaches it is as good, and over sooner.
_AS_GOOD = 0.95
#: Of the best rate: sizes that may be the best after all, and how often they are measured again.
_NEAR = 0.7
_LOOKS = 2


def race(operation: Operation, networks: Mapping[str, Network], place: Place) -> dict[str, Rates]:
    """Return each network's rates, measured in turn so that what else the machine does hits them alike.

    Sizes go up until a call gets long, memory ends, or doubling three times gained nothing.
    """
    rates: dict[str, Rates] = {name: {} for name in networks}
    racing = dict(networks)
    for size in _SIZES:
        try:
            seconds = _seconds(racing, operation.sample(size), place)
        except Exception:  # too little memory, which each library tells in its own way
            if size == 1:
                raise
            break
        for name, spent in seconds.items():
            rates[name][size] = size / (spent + _AROUND_A_CALL_S)
        fastest = max(rates[name][size] for name in racing)
        racing = {name: racing[name] for name in racing if rates[name][size] >= _HOPELESS * fastest}
        if min(seconds.values()) > _LONGEST_CALL_S or not any(_still_gains(rates[name]) for name in racing):
            break
    _look_again(operation, networks, place, rates)
    return rates


def _look_again(
    operation: Operation, networks: Mapping[str, Network], place: Place, rates: dict[str, Rates]
) -> None:
    """Measure the best network's best sizes again, in turn: a passing burden hit only some of them."""
    name, _ = winner(rates)
    near = [size for size, rate in rates[name].items() if rate >= _NEAR * max(rates[name].values())]
    samples = {size: operation.sample(size) for size in near}
    for _ in range(_LOOKS):
        for size, sample in samples.items():
            spent = _seconds({name: networks[name]}, sample, place)[name]
            rates[name][size] = max(rates[name][size], size / (spent + _AROUND_A_CALL_S))


def winner(rates: Mapping[str, Rates]) -> tuple[str, int]:
    """Return the network with the best rate, and the smallest batch that is as good as its best."""
    name = max(rates, key=lambda name: max(rates[name].values()))
    best = max(rates[name].values())
    return name, min(size for size, rate in rates[name].items() if rate >= _AS_GOOD * best)


def _seconds(networks: Mapping[str, Network], batch: Batch, place: Place) -> dict[str, float]:
    """Return the seconds that a call takes, the least of several: what disturbs only ever adds to them."""
    spent = dict.fromkeys(networks, math.inf)
    for network in networks.values():
        network(*batch)
    began = time.monotonic()
    rounds = 0
    while rounds < _FEWEST_ROUNDS or time.monotonic() - began < _SECONDS_A_SIZE:
        for name, network in networks.items():
            beginning = _clock(place)
            network(*batch)
            spent[name] = min(spent[name], _clock(place) - beginning)
        rounds += 1
    return spent


def _clock(place: Place) -> float:
    """Return a time in seconds, of which a call takes some.

    On a CPU it is this process's CPU time, spread over its cores: a core that a call leaves idle decodes the
    next pictures, and a machine that is busy at the start must not decide what is remembered.
    """
    return time.process_time() / place.threads if place.device == "cpu" else time.perf_counter()


def _still_gains(rates: Rates) -> bool:
    *before, one, two, three = [0.0, 0.0, 0.0, *rates.values()]
    return max(one, two, three) * _AS_GOOD > max(before)

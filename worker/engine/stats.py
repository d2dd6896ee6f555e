"""What the engine tells of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from shared.jobs import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStats:
    """What the device did since it started."""

    #: For each operation, how many batches of each size were answered.
    batches: Mapping[str, Mapping[int, int]]
    #: Items answered.
    items: int
    #: Seconds spent in model calls, failed ones too.
    busy_seconds: float
    #: Items that wait now.
    waiting: int
    #: Each capability of the profile, resident or not, as `Residency.stats` tells.
    residency: Sequence[Json]

    def as_json(self) -> Json:
        return asdict(self)

"""The engine room: one device thread, batches that cross jobs."""

from worker.engine.batching import BatchLimits
from worker.engine.engine import Engine, EngineStats
from worker.engine.ticket import Ticket

__all__ = ["BatchLimits", "Engine", "EngineStats", "Ticket"]

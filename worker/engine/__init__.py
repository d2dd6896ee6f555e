"""The engine room: one device thread, batches that cross jobs, models that come and go."""

from worker.engine.engine import Engine
from worker.engine.limits import BatchLimits
from worker.engine.pending import Pending
from worker.engine.residency import Residency
from worker.engine.stats import EngineStats
from worker.engine.ticket import Ticket

__all__ = ["BatchLimits", "Engine", "EngineStats", "Pending", "Residency", "Ticket"]

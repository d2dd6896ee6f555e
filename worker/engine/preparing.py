"""What a model may do beside its operations: prepare items before they queue, and know its best batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.errors import IconotextError, ModelFailed, ModelOutOfMemory
from worker.engine.failures import is_out_of_memory
from worker.models.capabilities import Model


def prepared(model: Model, operation: str, items: Sequence[Any]) -> Sequence[Any]:
    """Return the items as the model's `prepare` made them, in the calling thread; without one, as they are.

    Raises:
        ModelFailed: it failed, or gave another number of items.
        ModelOutOfMemory: it took too much memory.
        IconotextError: whatever else it raises of that kind.
    """
    prepare = getattr(model, "prepare", None)
    if prepare is None:
        return items
    try:
        ready: Sequence[Any] = prepare(operation.partition(".")[2], items)
        count = len(ready)
    except IconotextError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise ModelOutOfMemory(f"{operation}: its items do not fit into memory: {error}") from None
        raise ModelFailed(f"{operation}, preparing: {type(error).__name__}: {error}") from error
    if count != len(items):
        raise ModelFailed(f"{operation}, preparing: gave {count} items for {len(items)}")
    return ready


def best_batch(model: Model, operation: str) -> int | None:
    """Return the batch size that the model measured as its best, in items; None: it did not."""
    sizes = getattr(model, "batch_limits", None)
    return sizes.get(operation.partition(".")[2]) if sizes else None

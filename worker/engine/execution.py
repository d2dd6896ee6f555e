"""One batch, answered whatever is in it: halved until what fails stands alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shared.errors import ModelFailed, ModelOutOfMemory
from shared.failpoints import NONE, Failpoint, Failpoints
from worker.engine.failures import is_out_of_memory, is_sticky, release_memory
from worker.engine.requests import Slot
from worker.models.capabilities import Model


class DeviceLost(Exception):
    """Every later call would fail too; the cause says why."""


def answer_all(slots: list[Slot], attempt: Callable[[list[Slot]], BaseException | None]) -> int | None:
    """Answer every slot, or fail the request of those that fail even alone; their neighbours are served.

    Args:
        slots: one batch.
        attempt: answers all its slots and returns None, or answers none and returns why.

    Returns:
        The largest batch that fitted, if the whole one did not fit into memory.

    Raises:
        DeviceLost: no slot of any batch can be answered any more.
    """
    pending = [slots]
    largest, halved, misfit = 0, False, False
    while pending:
        slots = [slot for slot in pending.pop() if slot.request.is_open]
        failure = attempt(slots) if slots else None
        if failure is None:
            largest = max(largest, len(slots))
            continue
        if is_sticky(failure):
            raise DeviceLost from failure
        if isinstance(failure, ModelOutOfMemory):
            release_memory()
            halved = True
            misfit = misfit or len(slots) == 1
        if len(slots) == 1:
            slots[0].request.fail(_blame(slots[0], failure))
        else:
            middle = len(slots) // 2
            pending += [slots[middle:], slots[:middle]]
    # An item that does not fit even alone says nothing of what its neighbours need.
    return largest if halved and largest and not misfit else None


def call(
    model: Model, operation: str, items: list[Any], failpoints: Failpoints = NONE
) -> tuple[Sequence[Any], BaseException | None]:
    """Return one answer per item and None; or no answer, and why. It raises nothing."""
    try:
        failpoints.hit(Failpoint.MID_MODEL)
        answers = list(getattr(model, operation.partition(".")[2])(items))
    except BaseException as error:  # noqa: BLE001  a model may raise SystemExit, or asyncio's CancelledError
        # Keeping an out-of-memory error would keep its traceback, and with it the tensors.
        return (), ModelOutOfMemory(str(error)) if is_out_of_memory(error) else error
    if len(answers) != len(items):
        return (), ModelFailed(f"{operation} gave {len(answers)} answers for {len(items)} items")
    return answers, None


def _blame(slot: Slot, failure: BaseException) -> Exception:
    """Return what the request of a guilty item ends with."""
    if isinstance(failure, ModelOutOfMemory):
        return ModelOutOfMemory(f"{slot.name} does not fit into memory even alone: {failure}")
    if isinstance(failure, ModelFailed):
        return ModelFailed(f"{slot.name}: {failure}")
    blamed = ModelFailed(f"{slot.name}: {type(failure).__name__}: {failure}")
    blamed.__cause__ = failure
    return blamed

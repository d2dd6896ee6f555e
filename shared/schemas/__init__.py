"""The catalogue of tasks, found by looking into this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from shared.schemas.base import TaskSchema

_NOT_TASKS = {"base"}


@cache
def catalogue() -> Mapping[str, TaskSchema]:
    """Return every task's schema by name, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_TASKS)
    return {name: importlib.import_module(f"{__name__}.{name}").TASK for name in names}

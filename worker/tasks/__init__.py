"""The pipelines, found by looking into this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from worker.pipeline import Pipeline


@cache
def pipelines() -> Mapping[str, Pipeline[Any, Any, Any, Any, Any]]:
    """Return every task's pipeline by name, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").PIPELINE for name in names}

"""What was computed once and may be computed again: tensors, in files named by what they were made from."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Tensors = dict[str, NDArray[np.float32]]

_LOG = structlog.get_logger(__name__)
_DIGEST = hashlib.sha256
_DIGEST_BYTES = 32


def cached_tensors(folder: Path, name: str, inputs: Any, compute: Callable[[], Tensors]) -> Tensors:
    """Return what `compute` returns, from the cache when it holds what these inputs gave before.

    Args:
        inputs: JSON: everything that decides the outcome, the version of `compute` included.
    """
    key = _DIGEST(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]
    path = folder / f"{name}-{key}.safetensors.checked"
    tensors = _read(path)
    if tensors is None:
        tensors = compute()
        _write(path, tensors)
    return tensors


def _read(path: Path) -> Tensors | None:
    """Return what the file holds; None when there is none, or it is not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    try:
        if _DIGEST(body).digest() == digest:
            return load(body)
    except SafetensorError as error:
        _LOG.warning("cache_unreadable", path=str(path), error=str(error))
        return None
    _LOG.warning("cache_damaged", path=str(path))
    return None


def _write(path: Path, tensors: Tensors) -> None:
    """Write whole or not at all: several workers may start at once."""
    body = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as stream:
            stream.write(_DIGEST(body).digest() + body)
        Path(stream.name).replace(path)
    except OSError as error:
        _LOG.warning("cache_not_written", path=str(path), error=str(error))

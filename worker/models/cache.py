"""What was computed once and may be computed again, in files named by what it was made from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from safetensors.numpy import load, save

Tensors = dict[str, NDArray[np.float32]]

_LOG = structlog.get_logger(__name__)
_DIGEST = hashlib.sha256
_DIGEST_BYTES = 32


def cached(folder: Path, name: str, inputs: Any, compute: Callable[[], bytes]) -> bytes:
    """Return what `compute` returns, from the cache when it holds what these inputs gave before.

    Of several processes that ask at once, one computes and the others wait for it.

    Args:
        inputs: JSON: everything that decides the outcome, the version of `compute` included.
    """
    path = cache_path(folder, name, inputs)
    content = read_checked(path)
    if content is None:
        with alone_in(folder):
            # Another process may have had its turn before this one.
            content = read_checked(path)
            if content is None:
                content = compute()
                write_checked(path, content)
    return content


def cached_tensors(folder: Path, name: str, inputs: Any, compute: Callable[[], Tensors]) -> Tensors:
    """Return what `compute` returns, as `cached` does."""

    def computed() -> bytes:
        return save({name: np.ascontiguousarray(tensor) for name, tensor in compute().items()})

    return load(cached(folder, f"{name}.safetensors", inputs, computed))


def cache_path(folder: Path, name: str, inputs: Any) -> Path:
    """Return the file that holds, or will hold, what these inputs give."""
    key = _DIGEST(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]
    return folder / f"{name}-{key}.checked"


def read_checked(path: Path) -> bytes | None:
    """Return what the file holds; None when there is none, or it was not what was written and is gone now."""
    try:
        with path.open("rb") as stream:
            digest, content = stream.read(_DIGEST_BYTES), stream.read()
    except OSError:
        return None
    if _DIGEST(content).digest() == digest:
        return content
    _LOG.warning("cache_damaged", path=str(path))
    with suppress(OSError):
        path.unlink()
    return None


def write_checked(path: Path, content: bytes) -> None:
    """Write whole or not at all: several workers may start at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as stream:
            stream.write(_DIGEST(content).digest())
            stream.write(content)
        Path(stream.name).replace(path)
    except OSError as error:
        _LOG.warning("cache_not_written", path=str(path), error=str(error))


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one process at a time compute for this folder; where folders cannot be locked, let all.

    The lock ends with its process, however that ends. It is not reentrant.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        _LOG.info("cache_not_locked", error=str(error))

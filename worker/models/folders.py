"""Folders as `save_pretrained` makes them: whether all is there, and the hash of what is in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from shared.errors import ModelUnavailable
from worker.models.cache import cached

#: What a checkpoint is made of: weights, configurations, vocabularies. No pickle, and no code.
CHECKPOINT_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")

_CHUNK = 2**20  # 1 MiB
_WEIGHTS = "*.safetensors"
_SHARDS = "*.safetensors.index.json"


def require_checkpoint(folder: Path, names: Iterable[str], advice: str = "") -> None:
    """Check that a folder holds weights, every shard of them, and the named files; reads no weights.

    Args:
        advice: what to do when it does not; ends the message.

    Raises:
        ModelUnavailable: says what is not there.
    """
    ending = f"; {advice}" if advice else ""
    if not folder.is_dir():
        raise ModelUnavailable(f"folder {folder} is not there{ending}")
    # A link of the hub's cache whose download broke off leads nowhere.
    if not any(path.is_file() for path in folder.rglob(_WEIGHTS)):
        raise ModelUnavailable(f"folder {folder} holds no .safetensors file{ending}")
    wanted = {folder / name for name in names}.union(*map(_shards, folder.rglob(_SHARDS)))
    lacking = sorted(str(path.relative_to(folder)) for path in wanted if not path.is_file())
    if lacking:
        raise ModelUnavailable(f"folder {folder} lacks {', '.join(lacking)}{ending}")


def contents_of(folder: Path, cache_dir: Path) -> str:
    """Return `sha256:<hex>` over the names and contents of a checkpoint's files.

    Read once: later starts take it from the cache, while names, sizes and times of change are the same.
    """
    paths = sorted({path for kind in CHECKPOINT_FILES for path in folder.rglob(kind) if path.is_file()})
    names = [str(path.relative_to(folder)) for path in paths]
    marks = [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths]

    def compute() -> bytes:
        hashes = {name: sha256_of(path) for name, path in zip(names, paths, strict=True)}
        return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest().encode()

    found = cached(cache_dir, "contents", [1, str(folder.resolve()), names, marks], compute)
    return f"sha256:{found.decode()}"


def sha256_of(path: Path) -> str:
    """Return a file's sha256 as 64 lower-case hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _shards(index: Path) -> set[Path]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return {index.parent / str(name) for name in names}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelUnavailable(f"{index} is no index of weights: {error}") from error

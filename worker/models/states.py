"""How each model of a profile stands on this machine: ready, missing, or not what the manifest wants."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from shared.errors import ModelUnavailable
from shared.jobs import Json
from shared.manifests import Manifest
from worker.models.folders import contents_of
from worker.models.registry import missing_models
from worker.models.sources import locate, verify

State = Literal["ready", "missing", "wrong"]

_SHOWN = ("id", "architecture", "backend", "licence", "grade", "dtype", "memory_bytes", "pool", "residency")


def describe(manifest: Manifest, cache_dir: Path, *, verified: bool) -> Json:
    """Return what a manifest says of its models, and how each stands here, as JSON.

    Args:
        cache_dir: remembers the hashes of folders.
        verified: whether to read every file whose sha256 the manifest names.
    """
    missing = missing_models(manifest)
    wrong = _wrong(manifest, missing) if verified else {}
    folders = {
        capability: contents_of(entry.folder, cache_dir)
        for capability, entry in manifest.models.items()
        if entry.folder is not None and capability not in missing
    }
    return {
        "profile": manifest.name,
        "summary": manifest.summary,
        "models": [
            {
                "capability": capability,
                **{name: getattr(entry, name) for name in _SHOWN},
                "source": entry.origin or " + ".join(entry.over),
                "revision": manifest.revision_of(capability, folders),
                "state": _state(capability, missing, wrong),
                "reason": missing.get(capability) or wrong.get(capability),
            }
            for capability, entry in manifest.models.items()
        ],
    }


def _state(capability: str, missing: Json, wrong: Json) -> State:
    if capability in missing:
        return "missing"
    return "wrong" if capability in wrong else "ready"


def _wrong(manifest: Manifest, missing: Json) -> dict[str, str]:
    """Return why models are not what the manifest wants, those built over such a one among them."""
    wrong: dict[str, str] = {}
    for capability, entry in manifest.models.items():
        if capability in missing:
            continue
        if below := [name for name in entry.over if name in wrong]:
            wrong[capability] = f"it is built over {', '.join(below)}, which is wrong"
            continue
        try:
            verify(entry, locate(entry))
        except ModelUnavailable as error:
            wrong[capability] = error.message
    return wrong

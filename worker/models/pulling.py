"""Downloading what a profile takes from the hub, for `iconotext models pull` and workers that may pull."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from shared.errors import ModelUnavailable
from shared.manifests import Entry, Manifest
from worker.models.hub import pull, unreachable
from worker.models.sources import locate

log = structlog.get_logger()


def pull_missing(manifest: Manifest, pools: Collection[str] | None = None) -> dict[str, str]:
    """Download what is not in the local cache of the hub, one repository after the other.

    Args:
        pools: only for models of these; None: for all.

    Returns:
        Why a model could not be had, by capability; the others are there.
    """
    wanted = {
        capability: entry
        for capability, entry in manifest.models.items()
        if entry.hub is not None and (pools is None or entry.pool in pools) and not _is_here(entry)
    }
    if wanted and (reason := unreachable()):
        log.warning("cannot pull", models=sorted(wanted), reason=reason)
        return dict.fromkeys(wanted, reason)
    failures: dict[str, str] = {}
    for capability, entry in wanted.items():
        log.info("pulling", capability=capability, hub=entry.hub, revision=entry.revision)
        try:
            pull(entry)
        except ModelUnavailable as error:
            log.warning("cannot pull", models=[capability], reason=error.message)
            failures[capability] = error.message
    return failures


def _is_here(entry: Entry) -> bool:
    try:
        locate(entry)
    except ModelUnavailable:
        return False
    return True

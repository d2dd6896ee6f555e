"""A profile's first load on a machine, in a process of its own.

Exporting and measuring bring torch along and leave a gigabyte behind. A worker that finds it all in the cache
needs neither, so the process that fills the cache is another, and ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from shared.manifests import read_manifest
from worker.machine import cores
from worker.models.cache import cache_path, read_checked, write_checked
from worker.models.registry import load_profile, missing_models
from worker.models.runtimes.network import Wanted
from worker.models.runtimes.tuning import chip

_LOG = structlog.get_logger(__name__)
#: An export and its measurements take seconds for each model; something is wrong by then.
_LIMIT_S = 600
#: Of what the process said last, when it failed.
_TAIL = 500


def rehearse(
    profile: str,
    *,
    device: str,
    cache_dir: Path,
    manifest: Path | None = None,
    runtime: Wanted = "auto",
    threads: int | None = None,
) -> None:
    """Fill the cache that `load_profile` with the same arguments will read, unless that was done before.

    It only saves memory: whatever goes wrong in here is logged, and the loads of the worker do what is left
    to do. Models that are loaded when a job first needs them are left to that job.

    Raises:
        BadConfiguration: as `load_profile`.
    """
    threads = threads or cores()
    read = read_manifest(profile, manifest)
    missing = missing_models(read)
    kept = [
        entry
        for capability, entry in read.models.items()
        if entry.residency == "keep" and capability not in missing
    ]
    packaged = any(entry.package is not None for entry in kept)
    # Models of transformers are torch's own, and are run by nothing else.
    with_torch = any(entry.hub is not None or entry.folder is not None for entry in kept)
    # Elsewhere the worker itself runs torch.
    if device != "cpu" or runtime not in ("auto", "onnx") or not packaged or with_torch:
        return
    software = [version(name) for name in ("torch", "torchvision", "onnxruntime", "numpy")]
    inputs = [read.model_dump(mode="json"), sorted(missing), runtime, chip(device), threads, software]
    done = cache_path(cache_dir, "rehearsed", inputs)
    if read_checked(done) is None:
        _LOG.info("first_start", profile=read.name, cache_dir=str(cache_dir))
        arguments = {"profile": profile, "device": device, "cache_dir": str(cache_dir)}
        own = {} if manifest is None else {"manifest": str(manifest)}
        if _ran(arguments | own | {"runtime": runtime, "threads": threads}):
            write_checked(done, b"")


def main() -> None:
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    for name in {"cache_dir", "manifest"} & set(arguments):
        arguments[name] = Path(arguments[name])
    load_profile(**arguments).load_kept()


def _ran(arguments: dict[str, Any]) -> bool:
    """Load the profile in a child, pass on what it logs, and return whether it went well."""
    command = [sys.executable, "-c", "from worker.models.rehearsal import main; main()"]
    try:
        finished = subprocess.run(
            [*command, json.dumps(arguments)], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _LOG.warning("first_start_failed", error=str(error))
        return False
    for line in finished.stdout.splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            getattr(_LOG, said.pop("level"))(said.pop("event"), **said)
    if finished.returncode != 0:
        _LOG.warning("first_start_failed", error=finished.stderr[-_TAIL:])
    return finished.returncode == 0

"""`python -m worker.models list|check|pull`: a profile's models on this machine, as JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NoReturn

from shared import telemetry
from shared.errors import IconotextError
from shared.manifests import read_manifest
from shared.settings import read
from worker.models.pulling import pull_missing
from worker.models.registry import require_known
from worker.models.states import describe
from worker.settings import WorkerSettings


def main() -> NoReturn:
    """Do what the command line says and end the process.

    Exit status 0: done, and for `check` and `pull` every model is ready; 1: one is not; 2: no such profile,
    or a manifest or setting that cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m worker.models", description=__doc__)
    parser.add_argument("action", choices=["list", "check", "pull"])
    parser.add_argument("--profile", help="default: ICONOTEXT_PROFILE, or starter")
    parser.add_argument("--manifest", type=Path, help="default: ICONOTEXT_MANIFEST")
    arguments = parser.parse_args()
    try:
        sys.exit(_run(arguments.action, arguments.profile, arguments.manifest))
    except IconotextError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(2)


def _run(action: str, profile: str | None, manifest: Path | None) -> int:
    settings = read(WorkerSettings)
    telemetry.configure("INFO" if action == "pull" else "WARNING", settings.log_format, "models")
    found = read_manifest(profile or settings.profile, manifest or settings.manifest)
    for capability, entry in found.models.items():
        require_known(capability, entry)
    failures = pull_missing(found) if action == "pull" else {}
    described = describe(found, settings.resolved_cache_dir, verified=action != "list")
    for model in described["models"]:
        # What went wrong just now says more than that it is not there.
        model["reason"] = failures.get(model["capability"], model["reason"])
    json.dump(described, sys.stdout)
    sys.stdout.write("\n")
    return int(action != "list" and any(model["state"] != "ready" for model in described["models"]))


if __name__ == "__main__":
    main()

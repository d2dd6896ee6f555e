"""The OpenAPI document as the service serves it, as text to be kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from api.app import create_app
from api.settings import ApiSettings
from shared.jobs import JobId

ROOT = Path(__file__).resolve().parents[2]
#: The committed copy, for whoever makes a client without running the service.
COPY = ROOT / "api" / "openapi.json"


class _NoHints:
    """A queue of which nothing is asked."""

    def send(self, pool: str, job_ids: Sequence[JobId], request_id: str = "") -> None:
        raise AssertionError("nothing is submitted")

    def ping(self) -> None:
        raise AssertionError("nobody asks")

    def close(self) -> None:
        """Nothing is open."""


def served() -> dict[str, Any]:
    """Return the document; nothing is asked of a database or a queue."""
    with TemporaryDirectory() as folder:
        settings = ApiSettings.model_validate(
            {"data_dir": folder, "database_url": f"sqlite:///{folder}/jobs.db"}
        )
        app = create_app(settings, hints=lambda _: _NoHints())
        try:
            return dict(app.test_client().get("/openapi.json").get_json())
        finally:
            app.extensions["iconotext"].close()


def text_of(document: dict[str, Any]) -> str:
    """Return a document with its names in order, so that a change shows as what it is."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

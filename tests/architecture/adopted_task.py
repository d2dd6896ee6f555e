"""Write what the house in FOLDER knows of its tasks to DATA/known.json.

`python adopted_task.py FOLDER DATA`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

folder, data = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(folder))

from api.app import create_app  # noqa: E402  # only now can it be found in that folder
from api.settings import ApiSettings  # noqa: E402
from shared.database import upgrade  # noqa: E402
from shared.schemas import catalogue  # noqa: E402
from worker.tasks import pipelines  # noqa: E402


class NoHints:
    """A queue that nobody listens to."""

    def send(self, pool: str, job_ids: Sequence[str], request_id: str = "") -> None: ...

    def ping(self) -> None: ...

    def close(self) -> None: ...


settings = ApiSettings(data_dir=data, database_url=f"sqlite:///{data / 'jobs.db'}")
upgrade(settings.resolved_database_url)
browser = create_app(settings, hints=lambda _: NoHints()).test_client()
(data / "known.json").write_text(
    json.dumps(
        {
            "catalogue": list(catalogue()),
            "pipelines": list(pipelines()),
            "tasks": browser.get("/v1/tasks").get_json()["tasks"],
            "openapi": browser.get("/openapi.json").get_json(),
        }
    )
)

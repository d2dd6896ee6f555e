"""A plain Celery template, the way tutorials serve a model: Flask enqueues, prefork children run it.

Celery's "First Steps with Celery" and Flask's "Background Tasks with Celery": Redis as broker and result
backend, JSON messages, one task function, `AsyncResult` asked by id. The model is loaded once per child
(`worker_process_init`), there is no batching. Module-level objects, because `celery -A` and gunicorn look for
them.
"""

# mypy: disable-error-code="untyped-decorator"
# celery ships no types.

from __future__ import annotations

import base64
import os
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from celery.signals import worker_process_init
from flask import Flask, request

from benchmarks.peers import variables
from benchmarks.peers.model import Model

celery = Celery("template", broker=os.environ[variables.REDIS], backend=os.environ[variables.REDIS])
flask = Flask(__name__)
_loaded: list[Model] = []


@worker_process_init.connect
def load(**_: Any) -> None:
    """Load the model in this prefork child."""
    _loaded[:] = [Model()]


@celery.task(name="embed")
def embed(picture: str) -> str:
    """Return the vector of one picture."""
    return _loaded[0].embed([base64.b64decode(picture)])[0]


@flask.post("/embed")
def submit() -> tuple[dict[str, str], int]:
    """Enqueue, and answer with the task's id."""
    task = embed.delay(base64.b64encode(request.get_data()).decode())
    return {"task_id": task.id}, 202


@flask.get("/tasks/<task_id>")
def status(task_id: str) -> dict[str, str]:
    """Answer how the task stands, and with the vector when it is done."""
    task = AsyncResult(task_id, app=celery)
    state = str(task.status)
    return {"status": state, "vector": str(task.result)} if state == "SUCCESS" else {"status": state}

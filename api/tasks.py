"""The route of the catalogue: what may be asked, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.documents import answer
from api.errors import answered
from api.services import services
from shared.jobs import Json
from shared.schemas import catalogue
from shared.settings import Limits

routes = APIBlueprint("tasks", __name__, abp_tags=[Tag(name="Tasks", description="What can be asked")])


@routes.get(
    "/v1/tasks",
    operation_id="list_tasks",
    responses={200: answer("Every task.", "Catalogue"), **answered(["store_unavailable"])},
)
def list_tasks() -> Response:
    """Return the catalogue: each task's input and result as JSON Schema, its models, limits, an example."""
    house = services()
    return jsonify({"tasks": described(house.settings.limits, house.ready_workers())})


@cache
def _schemas() -> list[Json]:
    return [
        {
            "name": name,
            "summary": task.summary,
            "needs": list(task.needs),
            "timeout_s": task.timeout_s,
            "example": dict(task.example),
            "input_schema": task.input.model_json_schema(),
            "result_schema": task.result.model_json_schema(mode="serialization"),
        }
        for name, task in catalogue().items()
    ]


def described(limits: Limits, workers: Sequence[Json]) -> list[Json]:
    """Return each task as the catalogue shows it.

    Args:
        workers: what the ready ones say of themselves: only they know which models they loaded.
    """
    held = limits.model_dump(exclude={"inline_result_bytes"})
    return [{**task, "models": _models(task["needs"], workers), "limits": held} for task in _schemas()]


def _models(needs: Sequence[str], workers: Sequence[Json]) -> list[Json]:
    """Return every model that a job may meet, once, in the order of the needs."""
    found = {
        (need, model["id"], model["revision"], model["grade"])
        for need in needs
        for worker in workers
        for model in [worker.get("models", {}).get(need)]
        if model is not None
    }
    order = {need: place for place, need in enumerate(needs)}
    return [
        {"capability": need, "id": name, "revision": revision, "grade": grade}
        for need, name, revision, grade in sorted(found, key=lambda model: (order[model[0]], *model[1:]))
    ]

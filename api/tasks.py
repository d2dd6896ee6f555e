"""The route of the catalogue: what may be asked, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.documents import answer
from api.errors import answered
from api.services import Services, services
from shared.jobs import Json
from shared.manifests import Manifest
from shared.schemas import catalogue

routes = APIBlueprint("tasks", __name__, abp_tags=[Tag(name="Tasks", description="What can be asked")])


@routes.get(
    "/v1/tasks",
    operation_id="list_tasks",
    responses={200: answer("Every task.", "Catalogue"), **answered(["store_unavailable"])},
)
def list_tasks() -> Response:
    """Return the catalogue: each task's input and result as JSON Schema, its models, limits, an example."""
    house = services()
    return jsonify({"tasks": described(house, house.ready_workers())})


@cache
def _schemas() -> list[Json]:
    return [
        {
            "name": name,
            "summary": task.summary,
            "needs": list(task.needs),
            "uses": list(task.uses),
            "timeout_s": task.timeout_s,
            "example": dict(task.example),
            "input_schema": task.input.model_json_schema(),
            "result_schema": task.result.model_json_schema(mode="serialization"),
        }
        for name, task in catalogue().items()
    ]


def described(house: Services, workers: Sequence[Json]) -> list[Json]:
    """Return each task as the catalogue shows it.

    Args:
        workers: what the ready ones say of themselves: only they know which models they loaded.
    """
    limits = house.settings.limits.model_dump(exclude={"inline_result_bytes"})
    found = []
    for task in _schemas():
        obstacle = _obstacle(task, house.manifest, house.pools[task["name"]], workers)
        found.append(
            {
                **task,
                "available": obstacle is None,
                "unavailable_because": obstacle,
                "models": _models([*task["needs"], *task["uses"]], workers),
                "limits": limits,
            }
        )
    return found


def _obstacle(task: Json, manifest: Manifest, pool: str, workers: Sequence[Json]) -> str | None:
    """Return why a job of the task would find no worker now; None: one is ready for it."""
    if lacking := manifest.lacks(task["needs"]):
        return f"profile {manifest.name} has no {', '.join(lacking)}"
    there = [worker for worker in workers if pool in worker.get("pools", ())]
    if any(task["name"] in worker.get("tasks", ()) for worker in there):
        return None
    missing = {
        f"{need}: {worker['missing'][need]}"
        for worker in there
        for need in task["needs"]
        if need in worker.get("missing", {})
    }
    return "; ".join(sorted(missing)) or f"no worker of pool {pool} is ready for it"


def _models(capabilities: Sequence[str], workers: Sequence[Json]) -> list[Json]:
    """Return every model that a job may meet, once, in the order of the capabilities."""
    found = {
        (capability, model["id"], model["revision"], model["grade"])
        for capability in capabilities
        for worker in workers
        for model in [worker.get("models", {}).get(capability)]
        if model is not None
    }
    order = {capability: place for place, capability in enumerate(capabilities)}
    return [
        {"capability": capability, "id": name, "revision": revision, "grade": grade}
        for capability, name, revision, grade in sorted(found, key=lambda one: (order[one[0]], *one[1:]))
    ]

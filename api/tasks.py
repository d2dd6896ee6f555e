"""The route of the catalogue: what may be asked, and in which form."""

from __future__ import annotations

from functools import cache

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.documents import answer
from api.services import services
from shared.jobs import Json
from shared.schemas import catalogue
from shared.settings import Limits

routes = APIBlueprint("tasks", __name__, abp_tags=[Tag(name="Tasks", description="What can be asked")])


@routes.get("/v1/tasks", operation_id="list_tasks", responses={200: answer("Every task.", "Catalogue")})
def list_tasks() -> Response:
    """Return the catalogue: each task's input and result as JSON Schema, its limits, an example."""
    return jsonify({"tasks": described(services().settings.limits)})


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


def described(limits: Limits) -> list[Json]:
    """Return each task as the catalogue shows it."""
    return [{**task, "limits": limits.model_dump(exclude={"inline_result_bytes"})} for task in _schemas()]

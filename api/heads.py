"""Routes of heads: the classifiers that a tenant trained."""

from __future__ import annotations

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.auth import tenant
from api.documents import answer
from api.errors import answered
from api.services import services
from api.snapshots import rfc3339

routes = APIBlueprint(
    "heads", __name__, abp_tags=[Tag(name="Heads", description="Classifiers of your own, made by `train`")]
)


class HeadPath(BaseModel):
    name: str = Field(description="Its name, as `train` was given it.", max_length=200)


@routes.get(
    "/v1/heads",
    operation_id="list_heads",
    responses={200: answer("Every head, by name.", "Heads"), **answered(["store_unavailable"])},
)
def list_heads() -> Response:
    """List the classifiers that `classify` can use by name."""
    found = services().store.heads(tenant())
    return jsonify({"heads": [{"name": head.name, "created_at": rfc3339(head.created_at)} for head in found]})


@routes.delete(
    "/v1/heads/<name>",
    operation_id="delete_head",
    responses={
        204: {"description": "It is gone."},
        **answered(["not_found", "invalid_request", "store_unavailable"]),
    },
)
def delete_head(path: HeadPath) -> Response:
    """Delete a classifier; jobs that use it already go on."""
    services().store.delete_head(tenant(), path.name)
    return Response(status=204)

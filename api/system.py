"""Routes for operators: the fleet at a glance, and for Prometheus."""

from __future__ import annotations

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from prometheus_client import CONTENT_TYPE_LATEST

from api import fleet
from api.documents import answer
from api.errors import answered
from api.services import services

routes = APIBlueprint("system", __name__, abp_tags=[Tag(name="System", description="For operators")])


@routes.get(
    "/v1/system",
    operation_id="get_system",
    description=(
        "`scaling` holds, for each pool, `queued_per_slot`: the number to scale its workers by. A backlog is "
        f"counted up to {fleet.LARGEST_BACKLOG:,}."
    ),
    responses={
        200: answer("The living workers, what is resident in them, and what waits.", "System"),
        **answered(["store_unavailable"]),
    },
)
def get_system() -> Response:
    """Return the workers, their models and memory, the backlog of each pool, and a number to scale by."""
    return jsonify(fleet.described(services().fleet()))


@routes.get(
    "/metrics",
    operation_id="get_metrics",
    description=(
        "Requests are those of the process that answers, of which a service has one; all else is read from "
        "the database with every scrape."
    ),
    responses={
        200: {
            "description": "Prometheus's text format.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "iconotext_slots 4.0\n"}},
        },
        **answered(["store_unavailable"]),
    },
)
def get_metrics() -> Response:
    """Return the same for Prometheus, with the requests of this process."""
    return Response(services().measures.exposition(), content_type=CONTENT_TYPE_LATEST)

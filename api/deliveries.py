"""Route of deliveries: what was told of a job's end, and how that went."""

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
from shared.jobs import JobId, Json
from shared.store import DeliveryLog

routes = APIBlueprint(
    "deliveries", __name__, abp_tags=[Tag(name="Webhooks", description="What is told of jobs' ends")]
)


class DeliveriesPath(BaseModel):
    job_id: str = Field(description="The id that the submit answered.")


@routes.get(
    "/v1/jobs/<job:job_id>/deliveries",
    operation_id="get_deliveries",
    description="Kept for a week after a message was delivered or given up, whether the job exists or not.",
    responses={
        200: answer("Every message, the oldest first, with every try.", "Deliveries"),
        **answered(["not_found", "store_unavailable"]),
    },
)
def get_deliveries(path: DeliveriesPath) -> Response:
    """Tell what was sent to a job's webhook, and how that went."""
    found = services().store.deliveries_of(tenant(), JobId(path.job_id))
    return jsonify({"deliveries": [delivery_json(log) for log in found]})


def delivery_json(log: DeliveryLog) -> Json:
    """Return a message and its tries as JSON."""
    return {
        "id": log.id,
        "event": log.event,
        "status": log.state.value,
        "created_at": rfc3339(log.created_at),
        "next_at": rfc3339(log.next_at),
        "ended_at": rfc3339(log.ended_at),
        "tries": [
            {"at": rfc3339(at), "status": done.status, "error": done.error, "ms": done.ms}
            for at, done in log.tries
        ],
    }

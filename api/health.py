"""Routes for whoever watches over the process."""

from __future__ import annotations

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api.documents import answer
from api.errors import answered
from api.services import Hinter, services
from shared.errors import QueueUnavailable
from shared.jobs import Json
from shared.signing import Signer

routes = APIBlueprint("health", __name__, abp_tags=[Tag(name="Health", description="For probes")])


@routes.get("/livez", operation_id="livez", responses={200: answer("The process answers.", "Liveness")})
def livez() -> Response:
    """Tell that the process answers; asks nothing of anything else."""
    return jsonify({"status": "ok"})


@routes.get(
    "/readyz",
    operation_id="readyz",
    description=(
        "The database decides: without it nothing can be accepted (503). With the queue down, submits still "
        "work and idle workers find the jobs by themselves; with a disk full, submits are refused (507) and "
        "all else goes on; with another `ICONOTEXT_SECRET` than the workers', nobody can verify what "
        "webhooks are sent (all: `degraded`)."
    ),
    responses={
        200: answer("The database answers.", "Readiness"),
        **answered(["store_unavailable", "blobs_unavailable"]),
    },
)
def readyz() -> Response:
    """Tell whether jobs are accepted."""
    house = services()
    house.store.ping()
    workers = house.ready_workers()
    checks = {
        "database": "ok",
        "queue": "ok" if _answers(house.hints) else "down",
        "disk": "full" if house.reserve.is_used_up() else "ok",
        "secret": "ok" if _agrees(house.signer, workers) else "differs",
        "workers": len(workers),
    }
    is_sound = (checks["queue"], checks["disk"], checks["secret"]) == ("ok", "ok", "ok")
    return jsonify({"status": "ok" if is_sound else "degraded", "checks": checks})


def _agrees(signer: Signer, workers: list[Json]) -> bool:
    return all(worker.get("signs_as") in {None, signer.fingerprint} for worker in workers)


def _answers(hints: Hinter) -> bool:
    try:
        hints.ping()
    except QueueUnavailable:
        return False
    return True

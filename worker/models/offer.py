"""What a worker can do with the models that are here: the tasks it offers, and why it lacks others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog

from shared.errors import BadConfiguration
from shared.jobs import Json
from shared.schemas.base import TaskSchema
from worker.models.registry import Profile

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What a worker announces."""

    #: Names of the tasks of its pools whose models are all here.
    tasks: list[str]
    #: What results name of each model that is here: id, revision, grade.
    models: Mapping[str, Json]
    #: Why a model that tasks of its pools need or use is not here, by capability.
    missing: Mapping[str, str]


def offer(
    profile: Profile, schemas: Mapping[str, TaskSchema], pools: Collection[str], missing: Mapping[str, str]
) -> Offer:
    """Return what a worker of these pools offers, and log what it lacks.

    Args:
        missing: why models of the profile are not here, by capability.

    Raises:
        BadConfiguration: it would have nothing to do: every task that the profile has in these pools lacks a
            model.
    """
    manifest = profile.manifest
    ours = {name: task for name, task in schemas.items() if manifest.pool_of(task.needs) in pools}
    relevant = manifest.reached([name for task in ours.values() for name in (*task.needs, *task.uses)])
    gone = {name: reason for name, reason in missing.items() if name in relevant}
    whole = {name: task for name, task in ours.items() if not manifest.lacks(task.needs)}
    lacking = sorted(name for name, task in whole.items() if set(task.needs) & gone.keys())
    offered = sorted(whole.keys() - set(lacking))
    for capability, reason in gone.items():
        model = manifest.models[capability].id
        log.warning("model missing", capability=capability, model=model, reason=reason)
    if lacking and not offered:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in gone.items())
        raise BadConfiguration(f"profile {profile.name}: no task has its models here: {reasons}")
    if lacking:
        log.warning("tasks lack their models", lacking=lacking, offered=offered)
    models = {name: known for name, known in profile.identities.items() if name not in missing}
    return Offer(tasks=offered, models=models, missing=gone)

"""When two jobs have the same answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from shared.jobs import Json

#: Goes up when a pipeline gives other results for the same input and models.
_VERSION = 1


def result_key(task: str, task_input: Json, models: Mapping[str, Json], needs: Sequence[str]) -> str:
    """Return the name that equal work has: SHA-256 in hex.

    Args:
        task_input: canonical: pictures by the hash of their bytes.
        models: what a worker announces of each capability: `id` and `revision` decide.
        needs: the capabilities that the task may use.
    """
    known = {need: [models[need]["id"], models[need]["revision"]] for need in sorted(needs) if need in models}
    words = json.dumps([_VERSION, task, task_input, known], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(words.encode()).hexdigest()

"""What a job that succeeded is settled with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from shared.blobs import BlobStore
from shared.caching import result_key
from shared.jobs import Artifact, Claim, FileId, Json, Success
from shared.schemas.base import TaskResult, TaskSchema
from worker.heartbeat import Held
from worker.models.capabilities import ModelCard


class Results:
    """Puts together what a result is kept with: where it came from, and what it took."""

    def __init__(
        self, blobs: BlobStore, *, profile: str, identities: Mapping[str, Json], inline_bytes: int
    ) -> None:
        """Take what is the same for all jobs.

        Args:
            blobs: of results too large for their rows.
            profile: whose models compute.
            identities: what this worker announces of each capability's model: `id`, `revision`.
            inline_bytes: JSON of a result that is kept in the job's row; a longer one is a blob.
        """
        self._blobs = blobs
        self._profile = profile
        self._identities = identities
        self._inline_bytes = inline_bytes

    def success(
        self,
        held: Held,
        schema: TaskSchema,
        result: TaskResult,
        *,
        artifacts: Sequence[Artifact],
        timings_ms: Mapping[str, float],
    ) -> Success:
        """Return an attempt's success; a large result is stored on the way.

        Raises:
            BlobsUnavailable: it cannot be stored.
        """
        # No NaN is in it: every result's model refuses one.
        encoded = result.model_dump_json().encode()
        file: FileId | None = None
        if len(encoded) > self._inline_bytes:
            file = self._blobs.put(encoded)
        spans = {**timings_ms, "model": held.ticket.model_seconds * 1000}
        return Success(
            result=None if file else json.loads(encoded),
            result_file=file,
            result_bytes=len(encoded) if file else 0,
            artifacts=artifacts,
            provenance=self._provenance(held.ticket.models),
            timings_ms={name: round(span, 3) for name, span in spans.items()},
            batch_size=held.ticket.largest_batch,
            cache_key=self._cache_key(held.claim, schema),
        )

    def _cache_key(self, claim: Claim, schema: TaskSchema) -> str | None:
        if not claim.cache:
            return None
        return result_key(claim.task, claim.input, self._identities, [*schema.needs, *schema.uses])

    def _provenance(self, used: Mapping[str, ModelCard]) -> Json:
        cards = sorted(used.items())
        return {
            "profile": self._profile,
            "models": [
                {
                    "capability": name,
                    "id": card.id,
                    "revision": card.revision,
                    "grade": card.grade,
                    "device": card.device,
                    "dtype": card.dtype,
                    "runtime": card.runtime,
                }
                for name, card in cards
            ],
            "device": cards[0][1].device if cards else None,
            "dtype": cards[0][1].dtype if cards else None,
        }

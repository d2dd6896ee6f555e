"""The model behind BentoML, adaptive batching on.

As many workers as cores, one ONNX Runtime thread each (docs.bentoml.com, "Parallelize requests handling"),
and one batchable endpoint ("Adaptive batching"). Such an endpoint takes lists, so a request is a list of one,
base64 in JSON. Access logging is off: no other side logs its requests either.

Tried, two cores, processor time per item: `max_batch_size` 4 and 8 11.0 to 11.4 ms, 32 12.7 ms (the network
is slower per picture in larger batches). Two services, one that decodes and a batchable one that encodes
("Adaptive batching" across Services), lost connections between their own processes with 64 in flight.
"""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator"
# BentoML lives in an environment of its own, so its decorators are unknown here.

from __future__ import annotations

import base64
import os

import bentoml

from benchmarks.peers.model import Model


@bentoml.service(
    workers=len(os.sched_getaffinity(0)),
    traffic={"timeout": 300},
    logging={"access": {"enabled": False}},
)
class Embedding:
    """Decodes and encodes whole batches in a worker's thread."""

    def __init__(self) -> None:
        self._model = Model()

    # A request that would wait longer than `max_latency_ms` is answered 503: far above what it takes here.
    @bentoml.api(batchable=True, max_batch_size=4, max_latency_ms=10_000)
    def embed(self, pictures: list[str]) -> list[str]:
        """Return the vectors of pictures, each base64 of a JPEG."""
        return self._model.embed([base64.b64decode(picture) for picture in pictures])

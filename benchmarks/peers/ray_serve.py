"""The model behind Ray Serve, with `@serve.batch`.

As many replicas as cores, one ONNX Runtime thread each: docs.ray.io, "Performance Tuning", reserves cores by
`num_cpus` and sets `OMP_NUM_THREADS`. HAProxy and the throughput-optimized settings come from "Enable High
Throughput on Ray Serve" (see `sides`). With them Ray listens on all of the machine's addresses.

Tried, two cores, processor time per item: batches of 4 10.3 to 11.0 ms, of 8 11.5 ms (the network is slower
per picture in larger batches); one replica of two threads 11.5 ms; computing in the replica's event loop
instead of a thread 10.9 ms and twice the p99; HAProxy alone 11.5 ms; without either setting 20.8 ms.
"""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator,attr-defined"
# Ray lives in an environment of its own, so its decorators are unknown here.

from __future__ import annotations

import asyncio
import os
import sys

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers import variables
from benchmarks.peers.model import Model

_CORES = len(os.sched_getaffinity(0))


@serve.deployment(
    num_replicas=_CORES,
    # "Dynamic Request Batching": at least as many as a batch takes; here whatever is in flight, since a
    # request above it is turned away.
    max_ongoing_requests=64,
    ray_actor_options={"num_cpus": 1},
)
class Embedding:
    """Decodes and encodes whole batches in a thread, beside the replica's event loop."""

    def __init__(self) -> None:
        self._model = Model()

    # Wait no longer than Serve's default of 10 ms: with 64 in flight a batch is full at once.
    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.01)
    async def embed(self, pictures: list[bytes]) -> list[str]:
        """Return the vectors of a batch."""
        return await asyncio.to_thread(self._model.embed, pictures)

    async def __call__(self, request: Request) -> dict[str, object]:
        return {"vector": await self.embed(await request.body())}


def main() -> None:
    ray.init(num_cpus=_CORES, include_dashboard=False, _temp_dir=sys.argv[1])
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ[variables.PORT])})
    serve.run(Embedding.bind(), blocking=True)


if __name__ == "__main__":
    main()

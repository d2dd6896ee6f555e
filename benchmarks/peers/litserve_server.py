"""The model behind LitServe.

As many worker processes as cores, one ONNX Runtime thread each (LitServe on `workers_per_device`: "For CPU,
set to the number of cores"), and `fast_queue`, its ZeroMQ transport "for high-throughput scenarios (>100
RPS)". One process awaits the load's answers.

Tried, two cores, processor time per item: batches of 4 9.9 to 10.5 ms, no batching 10.5 to 11.6 ms, one
worker of two threads with batches of 8 11.4 ms; two API servers, its default here, 10.1 to 11.4 ms; without
`fast_queue` 10.5 to 10.7 ms.
"""

# mypy: disable-error-code="import-not-found,misc"
# LitServe lives in an environment of its own, so its base class is unknown here.

from __future__ import annotations

import os
from typing import Annotated

import litserve
from fastapi import Body

from benchmarks.peers import variables
from benchmarks.peers.model import Model, Pixels, decode


class Embedding(litserve.LitAPI):
    """Decodes and encodes a batch at a time in the worker process, as LitServe's documentation divides it."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        self._model = Model()

    def decode_request(self, request: bytes) -> Pixels:
        return decode(request)

    # LitServe makes the endpoint's signature of this annotation: the body as it is, neither form nor JSON.
    decode_request.__annotations__["request"] = Annotated[bytes, Body(media_type="image/jpeg")]

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        return inputs

    def predict(self, x: list[Pixels]) -> list[str]:
        return self._model.encode(x)

    def unbatch(self, output: list[str]) -> list[str]:
        return output

    def encode_response(self, output: str) -> dict[str, str]:
        return {"vector": output}


def main() -> None:
    # With 64 in flight a batch is full at once: the wait bounds only a lone request's latency.
    api = Embedding(max_batch_size=4, batch_timeout=0.01)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=len(os.sched_getaffinity(0)),
        fast_queue=True,
        timeout=False,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ[variables.PORT]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

"""The bare loop: a process with the same models and nothing around them.

It decodes one picture after the other and calls the model with as many as it likes best, in one thread; the
runtime beneath may use every core, as it does in a worker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from benchmarks import inputs
from shared.settings import Limits
from worker.media.images import decode
from worker.models.capabilities import ImageEncoder, JointEncoder, Model, Pixels
from worker.models.registry import load_profile
from worker.models.runtimes.network import Wanted

#: Batch sizes that are tried at the start, beside the one that the models prefer.
SIZES = (1, 2, 4, 8, 16, 32)
_SWEEP_S = 0.4
ROOT = Path(__file__).parents[1]


class BareLoop:
    """The models, and the loop over them."""

    def __init__(self, profile: str, cache: Path, runtime: Wanted, *, sweep: bool) -> None:
        """Load the models.

        Args:
            runtime: `auto` for the one that a worker would choose, `eager` for plain torch.
            sweep: try batch sizes and keep the best; else one item a batch.
        """
        models = load_models(profile, cache, runtime)
        self._images = cast(ImageEncoder, models["ImageEncoder"])
        self._joint = cast(JointEncoder, models["JointEncoder"])
        self._limits = Limits()
        self.sizes = {"images": 1, "texts": 1}
        if sweep:
            self.sizes["images"] = self._best("images", preferred(models["ImageEncoder"], "encode_images"))
            self.sizes["texts"] = self._best("texts", preferred(models["JointEncoder"], "embed_texts"))

    def work(self, kind: str, name: str, count: int, size: int | None = None) -> Callable[[], None]:
        """Return what embeds this many pictures or texts in batches; the inputs are made before."""
        size = size or self.sizes[kind]
        if kind == "images":
            files = inputs.taken(inputs.pictures(name), count)
            return lambda: self._embed_images(files, size)
        texts = inputs.spoken(inputs.captions(), count)
        return lambda: self._embed_texts(texts, size)

    def call_ms(self, kind: str, name: str, count: int) -> list[float]:
        """Return how long each call of the model takes for one item, in milliseconds, without decoding."""
        if kind == "images":
            pixels = [self._decode(file) for file in inputs.taken(inputs.pictures(name), count)]
            return [_timed(partial(self._images.encode_images, [one])) * 1000 for one in pixels]
        texts = inputs.spoken(inputs.captions(), count)
        return [_timed(partial(self._joint.embed_texts, [one])) * 1000 for one in texts]

    def _best(self, kind: str, preferred: int | None) -> int:
        """Return the batch size with the most items a second, of those tried."""
        sizes = sorted({*SIZES, *([preferred] if preferred else [])})
        self.work(kind, "warm", max(sizes), 4)()
        return max(sizes, key=lambda size: self._rate(kind, size))

    def _rate(self, kind: str, size: int) -> float:
        work, done, began = self.work(kind, "sweep", size, size), 0, time.monotonic()
        work()
        while (spent := time.monotonic() - began) < _SWEEP_S:
            work()
            done += size
        return done / spent

    def _embed_images(self, files: Sequence[bytes], size: int) -> None:
        for first in range(0, len(files), size):
            self._images.encode_images([self._decode(file) for file in files[first : first + size]])

    def _embed_texts(self, texts: Sequence[str], size: int) -> None:
        for first in range(0, len(texts), size):
            self._joint.embed_texts(texts[first : first + size])

    def _decode(self, file: bytes) -> Pixels:
        import numpy as np  # noqa: PLC0415  # only the process that holds the models needs it

        return np.asarray(decode(file, self._images.view, self._limits))


def load_models(profile: str, cache: Path, runtime: Wanted = "auto") -> dict[str, Model]:
    """Return a profile's models on the CPU, warm, by capability."""
    return load_profile(profile, device="cpu", cache_dir=cache, runtime=runtime).load_all()


def preferred(model: Model, method: str) -> int | None:
    """Return the batch size that the model measured to be its best, if it did."""
    limits = getattr(model, "batch_limits", {})
    return limits.get(method)


class Loop(Protocol):
    """What runs in the process of a bare loop."""

    sizes: dict[str, int]


Served = TypeVar("Served", bound=Loop)


class Bare:
    """A bare loop in a process of its own, which does nothing unless it is asked."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        #: The best batch size, by kind.
        self.sizes: dict[str, int] = self._hear()

    def rate(self, kind: str, name: str, count: int) -> tuple[float, float]:
        """Embed pictures or texts; return items a second and CPU milliseconds for each.

        Args:
            kind: `images` or `texts`.
            name: of the inputs; each name gives others.
        """
        spent = self._ask({"do": "work", "kind": kind, "name": name, "count": count})
        return count / spent["seconds"], spent["cpu_seconds"] / count * 1000

    def call_ms(self, kind: str, name: str, count: int) -> list[float]:
        """Return how long the model takes for one item, again and again, in milliseconds."""
        return list(self._ask({"do": "calls", "kind": kind, "name": name, "count": count}))

    def _ask(self, order: dict[str, Any]) -> Any:
        if self._popen.stdin is None:
            raise RuntimeError("the bare loop listens to nobody")
        self._popen.stdin.write(json.dumps(order) + "\n")
        self._popen.stdin.flush()
        return self._hear()

    def _hear(self) -> Any:
        if self._popen.stdout is None:
            raise RuntimeError("the bare loop says nothing")
        line = self._popen.stdout.readline()
        if not line:
            raise RuntimeError(f"the bare loop ended with status {self._popen.wait()}")
        return json.loads(line)


@contextmanager
def started(module: str, *arguments: str) -> Iterator[Bare]:
    """Run a module's `serve` in a process of its own until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", f"from {module} import serve; serve()", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as popen:
        try:
            yield Bare(popen)
        finally:
            if popen.stdin is not None:
                with suppress(BrokenPipeError):
                    popen.stdin.close()


def attend(load: Callable[[], Served], obey: Callable[..., Any]) -> Served:
    """Load a loop, say its batch sizes, then do what each line of standard input says, until it ends."""
    # Libraries may print; only we speak to whoever listens.
    with os.fdopen(os.dup(1), "w") as said:
        os.dup2(2, 1)
        loop = load()
        print(json.dumps(loop.sizes), file=said, flush=True)
        for line in sys.stdin:
            print(json.dumps(obey(loop, **json.loads(line))), file=said, flush=True)
    return loop


def bare(
    *, cache: Path, profile: str = "starter", runtime: Wanted = "auto", sweep: bool = True
) -> AbstractContextManager[Bare]:
    """Run a bare loop with its models loaded, and its batch sizes chosen if it is to `sweep`."""
    return started(__name__, profile, str(cache), runtime, "sweep" if sweep else "")


def serve() -> None:
    """Be the process of a bare loop."""
    profile, cache, runtime, sweep = sys.argv[1:]
    attend(lambda: BareLoop(profile, Path(cache), cast(Wanted, runtime), sweep=bool(sweep)), _obey)


def _obey(loop: BareLoop, do: str, kind: str, name: str, count: int) -> Any:
    if do == "calls":
        return loop.call_ms(kind, name, count)
    work = loop.work(kind, name, count)
    cpu_before = time.process_time()
    seconds = _timed(work)
    return {"seconds": seconds, "cpu_seconds": time.process_time() - cpu_before}


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began

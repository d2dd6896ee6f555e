"""How much of a GPU's speed is left behind the service: CLIP of ViT-B/32's size, bf16, batches up to 256.

The bare loop decodes the next batch in as many processes as the service does while the device embeds this
one: on a GPU decoding is the longer part, so a loop that took turns would be easy to beat. A third line shows
the device alone, fed with pictures that are decoded already. Without a CUDA device it says so and ends.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from benchmarks import inputs
from benchmarks.bare import Bare, attend, started
from benchmarks.jobs import Ledger, Work, in_flight, prepared
from benchmarks.report import Effort, Report, in_turn, read_effort
from benchmarks.stack import CACHE, Stack, running
from benchmarks.wire import Wire
from shared.settings import Limits
from worker.machine import cores
from worker.media import Decoder
from worker.models.capabilities import ImageEncoder, JointEncoder, Pixels
from worker.models.registry import load_profile

MANIFEST = Path(__file__).parent / "clip_b32.toml"
#: Of the bare loop; the fastest is taken.
SIZES = (64, 128, 256)
#: What the service must reach of the bare loop.
BAR = 0.85
_SECONDS = 5.0
_SWEEP_S = 1.0
_SETTLE_S = 0.5
_MANY = 64
_JOBS = 32
#: Of one round, so that what is sent fits into memory beside everything else.
_MOST = {"images": 8192, "texts": 65536}
_CHILD_BYTES = 2 * 2**30
_CHILD_SECONDS = 60.0
_SERVICE = {"ICONOTEXT_MAX_BATCH": str(max(SIZES)), "ICONOTEXT_API_THREADS": "96"}


class Loop:
    """The models, decode children, and nothing else."""

    def __init__(self, profile: str, device: str, cache: Path) -> None:
        models = load_profile(profile, device=device, cache_dir=cache).load_all()
        self._images = cast(ImageEncoder, models["ImageEncoder"])
        self._joint = cast(JointEncoder, models["JointEncoder"])
        children = cores()
        self._threads = ThreadPoolExecutor(children)
        self._decoder = Decoder(
            children=children, memory_bytes=_CHILD_BYTES, seconds=_CHILD_SECONDS, limits=Limits()
        )
        self._decoder.start()
        self._decoded = [self._decode(file) for file in inputs.taken(inputs.pictures("decoded"), max(SIZES))]
        self.sizes = {
            "images": max(SIZES, key=lambda size: self._rate("pixels", size)),
            "texts": max(SIZES, key=lambda size: self._rate("texts", size)),
        }
        self.sizes["pixels"] = self.sizes["images"]

    def close(self) -> None:
        """End the decode children."""
        self._decoder.close()
        self._threads.shutdown()

    def work(self, kind: str, name: str, count: int, size: int) -> Callable[[], None]:
        """Return what embeds so many pictures, texts, or decoded pictures; the inputs are made before."""
        if kind == "images":
            files = inputs.taken(inputs.pictures(name), count)
            return lambda: self._embed_files(files, size)
        if kind == "texts":
            texts = inputs.spoken(inputs.captions(), count)
            return lambda: self._in_batches(self._joint.embed_texts, texts, size)
        pixels = [self._decoded[number % len(self._decoded)] for number in range(count)]
        return lambda: self._in_batches(self._images.encode_images, pixels, size)

    def _embed_files(self, files: Sequence[bytes], size: int) -> None:
        ahead: deque[list[Future[Pixels]]] = deque()
        for first in range(0, len(files), size):
            ahead.append([self._threads.submit(self._decode, file) for file in files[first : first + size]])
            if len(ahead) > 2:
                self._embed(ahead.popleft())
        while ahead:
            self._embed(ahead.popleft())

    def _embed(self, batch: list[Future[Pixels]]) -> None:
        self._images.encode_images([future.result() for future in batch])

    def _in_batches(self, encode: Callable[[Sequence[Any]], object], items: Sequence[Any], size: int) -> None:
        for first in range(0, len(items), size):
            encode(items[first : first + size])

    def _decode(self, file: bytes) -> Pixels:
        return self._decoder.decode(file, self._images.view)

    def _rate(self, kind: str, size: int) -> float:
        work, done = self.work(kind, "sweep", size, size), 0
        work()
        began = time.monotonic()
        while (spent := time.monotonic() - began) < _SWEEP_S:
            work()
            done += size
        return done / spent


def bare(profile: str, device: str) -> AbstractContextManager[Bare]:
    """Run the bare loop in a process of its own."""
    return started("benchmarks.gpu", profile, device)


def serve() -> None:
    """Be the process of the bare loop."""
    profile, device = sys.argv[1:]
    attend(lambda: Loop(profile, device, CACHE), _obey).close()


def _obey(loop: Loop, do: str, kind: str, name: str, count: int) -> dict[str, float]:
    work = getattr(loop, do)(kind, name, count, loop.sizes[kind])
    began, cpu = time.monotonic(), time.process_time()
    work()
    return {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}


def measured(profile: str, device: str, effort: Effort) -> Report:
    """Return the table: items a second of the bare loop and of the service, in turn."""
    rates: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with ExitStack() as everything:
        # As many decode children as the bare loop has.
        settings = {**_SERVICE, "ICONOTEXT_DEVICE": device, "ICONOTEXT_DECODERS": str(cores())}
        stack = everything.enter_context(running(profile=profile, settings=settings))
        loop = everything.enter_context(bare(profile, device))
        counts = {kind: _count(stack, loop, kind, effort) for kind in _MOST}
        sides = [(kind, side) for kind in counts for side in ("bare loop", f"jobs of {_MANY}")]
        sides.append(("images", "decoded before"))
        for number, (kind, side) in in_turn(sides, effort.rounds):
            rate = _service if side.startswith("jobs") else _bare
            asked = "pixels" if side == "decoded before" else kind
            rates[kind, side].append(rate(stack, loop, asked, f"{side} {number}", counts[kind]))
        return _report(rates, loop, device, effort)


def _count(stack: Stack, loop: Bare, kind: str, effort: Effort) -> int:
    """Return how many items a round takes, once both sides are warm."""
    rate = _bare(stack, loop, kind, "warm", 4 * max(SIZES))
    _service(stack, loop, kind, "warm", 4 * max(SIZES))
    wanted = min(effort.of(round(rate * _SECONDS)), _MOST[kind])
    return max(_MANY, wanted // _MANY * _MANY)


def _bare(stack: Stack, loop: Bare, kind: str, name: str, count: int) -> float:
    with stack.paused():
        time.sleep(_SETTLE_S)
        return loop.rate(kind, name, count)[0]


def _service(stack: Stack, _loop: Bare, kind: str, name: str, count: int) -> float:
    wire, ledger = Wire(stack.url), Ledger()
    requests = [prepared(wire, work, hold=False) for work in _works(kind, name, count)]
    time.sleep(_SETTLE_S)
    return count / in_flight(wire, requests, _JOBS, ledger, batches=False)


def _works(kind: str, name: str, count: int) -> Iterator[Work]:
    pictures, texts = inputs.pictures(name), inputs.captions()
    for _ in range(count // _MANY):
        if kind == "images":
            yield Work(images=inputs.taken(pictures, _MANY))
        else:
            yield Work(texts=inputs.spoken(texts, _MANY))


def _report(rates: dict[tuple[str, str], list[float]], loop: Bare, device: str, effort: Effort) -> Report:
    report = Report(name="gpu", rounds=effort.rounds, trial=effort.is_trial)
    for (kind, side), samples in rates.items():
        report.add(f"{kind}, {side}", samples, "items/s")
    for kind in _MOST:
        key = f"{kind}, jobs of {_MANY}, over the bare loop"
        ratio = report.ratio(key, rates[kind, f"jobs of {_MANY}"], rates[kind, "bare loop"])
        report.bar(key, ratio.median, BAR)
    sizes = ", ".join(f"{size} {kind}" for kind, size in loop.sizes.items())
    report.notes += [
        f"on {device}; batch sizes of the bare loop, of those tried in this run: {sizes}",
        f"pictures: 640x480 JPEGs, decoded by {cores()} processes on either side; {_JOBS} jobs in flight",
        "random weights of ViT-B/32's sizes: the speed is the real model's, the answers mean nothing",
    ]
    return report


def _device() -> str | None:
    import torch  # noqa: PLC0415  # seconds to import, which `--help` need not take

    return "cuda:0" if torch.cuda.is_available() else None


def main() -> int:
    effort = read_effort(__doc__, rounds=3)
    device = _device()
    if device is None:
        Console().print("skipped: torch sees no CUDA device on this machine", markup=False)
        return 0
    return measured(str(MANIFEST), device, effort).finish()


if __name__ == "__main__":
    sys.exit(main())

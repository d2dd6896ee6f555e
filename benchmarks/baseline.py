"""How much the service gains over the article's own way, on the same photos and models.

The article's listings load their models inside the function that answers: every call reads the weights from
disk again, one picture at a time. Here that is compared, in one run and in turn, with this service: the same
photos one job at a time, and as 64 single-image jobs at once. The histogram shows the batches that the worker
formed under those 64.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from benchmarks.report import Report, read_effort
from benchmarks.stack import running
from client import Client
from shared.settings import Limits
from worker.media.images import decode
from worker.models.capabilities import ImageEncoder, JointEncoder
from worker.models.registry import load_profile

PHOTOS = sorted((Path(__file__).parents[1] / "client" / "demo" / "photos").glob("*.jpg"))
#: Loads of the models a round: each takes as long as dozens of jobs.
CALLS = 4
CONCURRENT = 64


def the_articles_way(photo: bytes, cache: Path) -> float:
    """Answer one call as the article does, in plain torch: load every model, use it once, forget it.

    Returns:
        Seconds, less those of the warm-up that a worker makes and the article does not.
    """
    beginning = time.monotonic()
    models = load_profile("starter", device="cpu", cache_dir=cache, runtime="eager").load_all()
    encoder = cast(ImageEncoder, models["ImageEncoder"])
    joint = cast(JointEncoder, models["JointEncoder"])
    pixels = np.asarray(decode(photo, encoder.view, Limits()))
    joint.project_images(encoder.encode_images([pixels]))
    spent = time.monotonic() - beginning
    return spent - sum(timed(model.warm_up) for model in models.values())


def timed(work: Callable[[], object]) -> float:
    beginning = time.monotonic()
    work()
    return time.monotonic() - beginning


def at_once(client: Client, photos: Sequence[bytes]) -> list[int]:
    """Run every photo as a job of its own, all in flight together, and return the jobs' batch sizes."""

    def one(photo: bytes) -> int:
        job = client.wait(client.submit("embed", {"images": [photo]}).id, timeout=300)
        return int((job.batch or {}).get("size", 0))

    with ThreadPoolExecutor(len(photos)) as threads:
        return list(threads.map(one, photos))


def main() -> int:
    effort = read_effort(__doc__, rounds=3)
    photos = [path.read_bytes() for path in PHOTOS]
    many = [photos[index % len(photos)] for index in range(CONCURRENT)]
    article: list[float] = []
    singly: list[float] = []
    together: list[float] = []
    batches: Counter[int] = Counter()
    with TemporaryDirectory() as folder, running() as stack, Client(stack.url, timeout=300) as client:
        cache = Path(folder)
        the_articles_way(photos[0], cache)
        at_once(client, many)
        for _ in range(effort.rounds):
            with stack.paused():
                article.append(CALLS / sum(the_articles_way(photo, cache) for photo in photos[:CALLS]))
            singly.append(len(photos) / timed(lambda: [at_once(client, [photo]) for photo in photos]))
            together.append(CONCURRENT / timed(lambda: batches.update(at_once(client, many))))
    report = Report(name="baseline", rounds=effort.rounds, trial=effort.is_trial)
    report.add("article's way, models loaded for every call", article, "images/s")
    report.add("service, one job at a time", singly, "images/s")
    report.add(f"service, {CONCURRENT} jobs at once", together, "images/s")
    ratio = report.ratio(f"ratio, {CONCURRENT} at once over article's way", together, article)
    report.ratio("ratio, one at a time over article's way", singly, article)
    sizes = [size for size, jobs in batches.items() for _ in range(jobs)]
    size = report.add("batch size that a job ran in", sizes, "items")
    histogram = ", ".join(f"{size}: {jobs}" for size, jobs in sorted(batches.items()))
    report.note(f"jobs by the size of the batch they ran in: {histogram}")
    report.bar("batches form across jobs (median size)", size.median, 2)
    report.bar("faster than the article's way", ratio.median, 1)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

"""Disks that are full: under the blobs, and under SQLite."""

from __future__ import annotations

import base64
import io
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from PIL import Image

from shared.jobs import JobState, Json
from tests.chaos import scenes
from tests.chaos.scenes import Scene
from tests.chaos.servers import Sqlite
from tests.chaos.world import world
from tests.small_disks import fill, small_disk

_SIZE = "24m"
_FULL_S = 3.0


def run(scene: Scene) -> int:
    """While a disk is full the service says so, and once there is room again it goes on as if nothing was."""
    drawn = random.Random(scene.seed)
    report = scene.report("disks")
    with (
        tempfile.TemporaryDirectory(prefix="iconotext-disks-") as folder,
        _mounted(folder, "blobs") as blobs,
        _mounted(folder, "database") as disk,
        world("sqlite", folder=disk, blobs=blobs) as built,
        scenes.caller(built) as client,
    ):
        database = built.database.direct()
        built.start(1)
        accepted = scenes.submit(client, [scenes.text(f"red number {one}") for one in range(50)])
        statuses = {
            # What runs meanwhile has a picture to store, or an end to write down.
            "blobs": _while_full(client, blobs, _with_picture, _painted(drawn)),
            "database": _while_full(client, disk, _with_text, _slow(drawn)),
        }
        polls = [client.get(f"/v1/jobs/{one}").status_code for one in accepted[:5]]
        after = [client.post("/v1/jobs", json=body) for body in (_with_picture(999), _with_text(999))]
        scenes.require_the_end(database, 60.0)
        found = scenes.ended(database)
        broken = scenes.broken_stories(database)
        integrity = built.database.integrity() if isinstance(built.database, Sqlite) else "ok"
        database.close()
        deaths = [one for one in built.stage.deaths if one.name != "valkey"]
    report.note(f"answers while full: {statuses}; polls {polls}; after: {[one.status_code for one in after]}")
    report.add("jobs", [len(found)], "jobs")
    for name, answers in statuses.items():
        report.bar(f"refused for a full disk of the {name}", answers.get(507, 0) + answers.get(503, 0), 1)
        report.bar(
            f"other answers, full {name}",
            sum(count for status, count in answers.items() if status not in {200, 202, 503, 507}),
            0,
            at_least=False,
        )
    report.bar("submits accepted once there is room", sum(one.status_code in {200, 202} for one in after), 2)
    report.bar(
        "jobs that did not succeed",
        sum(one.state is not JobState.SUCCEEDED for one in found.values()),
        0,
        at_least=False,
    )
    report.bar("jobs with two ends", len(broken), 0, at_least=False)
    report.bar("integrity", float(integrity == "ok"), 1)
    report.bar("processes that died", len(deaths), 0, at_least=False)
    return report.finish()


def _while_full(
    client: httpx.Client, disk: Path, body: Callable[[int], Json], running: Sequence[Json]
) -> dict[int, int]:
    """Fill a disk while some jobs run, submit for a while, make room again; return the answers."""
    answers: dict[int, int] = {}
    scenes.submit(client, running)
    ballast = fill(disk)
    try:
        deadline = time.monotonic() + _FULL_S
        number = 0
        while time.monotonic() < deadline:
            number += 1
            status = client.post("/v1/jobs", json=body(number)).status_code
            answers[status] = answers.get(status, 0) + 1
            # Whatever still fitted into pages that the database had already does not, soon.
            fill(disk)
    finally:
        ballast.unlink()
    return answers


@contextmanager
def _mounted(folder: str, name: str) -> Iterator[Path]:
    place = Path(folder, name)
    place.mkdir()
    with small_disk(place, _SIZE):
        yield place


def _painted(drawn: random.Random) -> list[Json]:
    return [
        {
            "task": "generate",
            "input": {"prompt": "fake:sleep=0.2 red", "steps": 4, "seed": drawn.getrandbits(32)},
        }
        for _ in range(4)
    ]


def _slow(drawn: random.Random) -> list[Json]:
    return [scenes.text(f"fake:sleep={drawn.uniform(0.2, 0.6):.2f} red") for _ in range(8)]


def _with_text(number: int) -> Json:
    # Long enough for a page of its own.
    return scenes.text(f"red number {number} " + "x" * 4000)


def _with_picture(number: int) -> Json:
    content = io.BytesIO()
    Image.frombytes("RGB", (96, 96), os.urandom(96 * 96 * 3)).save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode()
    return {"task": "embed", "input": {"images": [{"data": data}], "texts": [f"red {number}"]}}

"""Over a thousand hostile pictures through a real service: each gets an answer, none costs anybody else's.

`make corpus` prints what became of each format.
"""

from __future__ import annotations

import base64
import logging
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from api.images import ACCEPTED
from shared.schemas.base import IMAGE_FORMATS
from tests.e2e.conftest import Up, end
from tests.hostile.pillow_pictures import name_of, unpacked
from tests.unit.api.pictures import base64_png

pytestmark = pytest.mark.timeout(500)

#: Must show 6: none may be unfinished after so long.
ENDED_WITHIN_S = 300.0
ROOT = Path(__file__).parents[2]
CALLERS = 8
#: Of the other ways in, every so many-th picture is tried: behind their doors, all are one.
SAMPLE = 5
#: Of base64 in one batch; a body may hold 32 MB.
BATCH_BYTES = 12 * 2**20
GOOD = {"data": base64_png(64, 48)}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a picture: refused at the door with a status, or accepted (202) and done."""

    status: int
    #: Of the refusal, or of the job's error; None: it succeeded.
    code: str | None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, and who they were that ran it."""

    up: Up
    http: httpx.Client
    pids: Mapping[str, int]

    def is_unharmed(self) -> bool:
        """Tell whether nobody died, and everybody answers."""
        return self.pids == _pids(self.up) and self.http.get("/readyz").status_code == 200

    def fates(self, answers: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Fate]:
        """Return what becomes of submits that were answered so, once all jobs have ended."""
        deadline = time.monotonic() + ENDED_WITHIN_S
        jobs: dict[str, Any] = {}
        wanted = [body["id"] for status, body in answers if status == 202]
        while waiting := [one for one in wanted if one not in jobs]:
            assert time.monotonic() < deadline, f"{len(waiting)} jobs did not end"
            found = self.http.post("/v1/jobs:get", json={"ids": waiting[:1000], "wait_s": 10}).json()["jobs"]
            jobs |= {job["id"]: job for job in found if job["finished_at"] is not None}
        return [_fate(status, body, jobs) for status, body in answers]


def _fate(status: int, body: Mapping[str, Any], jobs: Mapping[str, Any]) -> Fate:
    if status != 202:
        return Fate(status, body["code"])
    job = jobs[body["id"]]
    return Fate(status, None if job["status"] == "succeeded" else job["error"]["code"], job["attempt"])


def _pids(up: Up) -> dict[str, int]:
    return {name: up.pid(name) for name in ("api", "worker-1", "valkey")}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = unpacked(tmp_path_factory.mktemp("pillow"))
    assert len(found) > 1000
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, pictures: list[Path]) -> Iterator[Service]:
    up = Up(
        tmp_path_factory.mktemp("corpus") / "data",
        env={"ICONOTEXT_PROFILE": "starter", "ICONOTEXT_RUNTIME": "eager"},
    )
    try:
        up.wait_until_ready()
        with httpx.Client(base_url=up.url, timeout=60.0, trust_env=False) as http:
            yield Service(up, http, _pids(up))
    finally:
        end([up])


@pytest.fixture(scope="module")
def fates(service: Service, pictures: list[Path]) -> dict[str, Fate]:
    """Return what becomes of each picture that is sent inside the JSON of a submit, by its name."""
    fates = dict(zip(map(name_of, pictures), _each(service, pictures, _inline), strict=True))
    log.warning("%s", _table(pictures, fates))
    return fates


def _each(
    service: Service, pictures: Sequence[Path], send: Callable[[httpx.Client, Path], httpx.Response]
) -> list[Fate]:
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(lambda picture: send(service.http, picture), pictures))
    return service.fates([(answer.status_code, answer.json()) for answer in answers])


def _classify(ref: Mapping[str, str]) -> dict[str, Any]:
    return {"task": "classify", "input": {"image": ref}}


def _data(picture: Path) -> dict[str, str]:
    return {"data": base64.b64encode(picture.read_bytes()).decode()}


def _inline(http: httpx.Client, picture: Path) -> httpx.Response:
    return http.post("/v1/jobs", json=_classify(_data(picture)))


def _as_part(http: httpx.Client, picture: Path) -> httpx.Response:
    request = '{"task": "classify", "input": {"image": {"part": "picture"}}}'
    files = {"picture": (picture.name, picture.read_bytes()), "request": (None, request)}
    return http.post("/v1/jobs", files=files)


def _as_file(http: httpx.Client, picture: Path) -> httpx.Response:
    answer = http.post("/v1/files", files={"file": (picture.name, picture.read_bytes())})
    if answer.status_code not in {200, 201}:
        return answer
    return http.post("/v1/jobs", json=_classify({"file": answer.json()["id"]}))


def _batches(pictures: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for picture in pictures:
        length = picture.stat().st_size * 4 // 3
        if batch and (size + length > BATCH_BYTES or len(batch) == 200):
            yield batch
            batch, size = [], 0
        batch.append(picture)
        size += length
    yield batch


def _outcome(outcome: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    return outcome["status"], outcome.get("job") or outcome["problem"]


def _table(pictures: Sequence[Path], fates: Mapping[str, Fate]) -> str:
    """Return how many pictures of each format were accepted, and by which codes the others were refused."""
    rows: dict[str, Counter[str]] = {}
    for picture in pictures:
        fate = fates[name_of(picture)]
        words = (
            "succeeded" if fate.code is None else f"{fate.code} ({'job' if fate.status == 202 else 'door'})"
        )
        rows.setdefault(_format_of(picture) or "unknown to Pillow", Counter())[words] += 1
    lines = (
        f"{name:<20}" + ", ".join(f"{count} {words}" for words, count in found.most_common())
        for name, found in sorted(rows.items())
    )
    return "what became of each format\n" + "\n".join(lines)


def _format_of(picture: Path) -> str | None:
    """Return what Pillow with all its plugins takes a file for, by its header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(picture) as image:
                return image.format
        except Exception:  # noqa: BLE001  # these were made to break it
            return None


def test_every_picture_succeeds_or_gets_a_code_of_its_own(service: Service, fates: dict[str, Fate]) -> None:
    codes = {fate.code for fate in fates.values()} - {None}
    assert codes <= {
        "image_not_recognized",
        "image_format_forbidden",
        "image_too_large",
        "image_corrupt",
        "image_undecodable",
    }
    assert {fate.status for fate in fates.values()} == {202, 422}
    assert {fate.attempt for fate in fates.values()} == {1}, "one took its worker with it"
    assert service.is_unharmed(), service.up.output


def test_the_formats_that_are_decoded_are_the_documented_ones(
    fates: dict[str, Fate], pictures: list[Path]
) -> None:
    documented = set(re.findall(r"[A-Z]{3,}", ACCEPTED))

    decoded = {_format_of(picture) for picture in pictures if fates[name_of(picture)].code is None}

    # MPO: a JPEG with more pictures behind it.
    assert decoded - {"MPO"} == documented == set(IMAGE_FORMATS.values())
    assert ACCEPTED in " ".join((ROOT / "README.md").read_text().split())


def test_what_was_made_to_explode_is_refused_by_its_header(fates: dict[str, Fate]) -> None:
    bombs = ("decompression_bomb.gif", "bmp/b/reallybig.bmp", "libtiff_segfault.tif")

    assert [fates[name].code for name in bombs] == ["image_too_large"] * 3


@pytest.mark.parametrize("send", [_as_part, _as_file])
def test_a_picture_has_the_same_fate_whichever_way_it_comes(
    service: Service,
    fates: dict[str, Fate],
    pictures: list[Path],
    send: Callable[[httpx.Client, Path], httpx.Response],
) -> None:
    sample = pictures[::SAMPLE]

    found = dict(zip(map(name_of, sample), _each(service, sample, send), strict=True))

    # Where a file may be an image or a film, a film's codes are as good.
    differing = {
        name: (fates[name], fate)
        for name, fate in found.items()
        if fate != fates[name] and not (fate.status == 422 == fates[name].status)
    }
    assert differing == {}
    assert service.is_unharmed(), service.up.output


def test_good_neighbours_in_a_batch_succeed_at_once(
    service: Service, fates: dict[str, Fate], pictures: list[Path]
) -> None:
    found: list[Fate] = []
    neighbours: list[Fate] = []
    for batch in _batches(pictures):
        submits = [_classify(ref) for picture in batch for ref in (_data(picture), GOOD)]
        outcomes = service.http.post("/v1/jobs:batch", json=submits).json()["jobs"]
        both = service.fates([_outcome(outcome) for outcome in outcomes])
        found += both[::2]
        neighbours += both[1::2]

    assert dict(zip(map(name_of, pictures), found, strict=True)) == fates
    assert set(neighbours) == {Fate(202, None, attempt=1)}
    assert service.is_unharmed(), service.up.output

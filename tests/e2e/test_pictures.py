"""Tasks that make pictures or watch films, from the shell and from Python, through every process."""

from __future__ import annotations

import hashlib
import io
import json
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from client import Client, Options, RequestRefused
from tests.e2e.conftest import Up, eventually

#: Words of the command, artifacts, and something that is printed.
Expected = tuple[list[str], set[str], str]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two seconds of red, then two of blue."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 160, 120
        stream.time_base = Fraction(1, 10)
        for number in range(40):
            colour = (220, 30, 30) if number < 20 else (40, 70, 200)
            pixels = np.full((120, 160, 3), colour, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def saved(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir() if path.suffix != ".json"}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("caption", ([], set(), "a picture in red")),
        ("answer", (["--text", "what colour is it?"], set(), "red")),
        ("detect", (["--set", "labels=red door,blue"], {"annotated"}, "red door")),
        ("explain", (["--text", "a red door"], {"heatmap", "overlay"}, "door")),
        ("stylize", (["--set", "style.name=blue"], {"image"}, "saved")),
    ],
)
def test_a_picture_from_the_shell(
    up: Up, photos: dict[str, Path], tmp_path: Path, task: str, expected: Expected
) -> None:
    words, artifacts, said = expected
    done = up.command("submit", task, "--image", str(photos["red"]), *words, "--out", str(tmp_path / "out"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout
    assert {Path(name).stem for name in saved(tmp_path / "out")} == artifacts
    for path in saved(tmp_path / "out").values():
        with Image.open(path) as image:
            assert min(image.size) > 0


def test_a_style_may_be_a_picture_of_ones_own(up: Up, photos: dict[str, Path], tmp_path: Path) -> None:
    style = f"style.image={photos['blue']}"

    done = up.command(
        "submit", "stylize", "--image", str(photos["red"]), "--set", style, "--out", str(tmp_path / "out")
    )

    assert done.returncode == 0, done.stdout + done.stderr
    with Image.open(tmp_path / "out" / "image.png") as image:
        red, _, blue = np.asarray(image.convert("RGB")).reshape(-1, 3).mean(axis=0)
    assert blue > red + 60


def test_one_seed_makes_one_picture(client: Client) -> None:
    jobs = [client.run("generate", prompt="a red door", seed=seed, timeout=30) for seed in (7, 7, 8)]

    first, second, other = (client.download(job.artifacts[0].href) for job in jobs)
    assert first == second
    assert first != other
    with Image.open(io.BytesIO(first)) as image:
        assert image.size == (64, 64)


def test_a_film_from_the_shell(up: Up, film: Path, tmp_path: Path) -> None:
    rules = json.dumps([{"name": "sea", "text": "blue", "threshold": 0.5}])

    done = up.command(
        "submit", "video", "--video", str(film), "--set", f"rules={rules}", "--out", str(tmp_path / "out")
    )

    assert done.returncode == 0, done.stdout + done.stderr
    [record] = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    shots = [(shot["start_s"], shot["end_s"]) for shot in record["result"]["shots"]]
    assert len(shots) == 2
    assert shots[0][1] == pytest.approx(2.0, abs=0.11)
    [event] = record["result"]["events"]
    assert event["rule"] == "sea"
    assert event["start_s"] == pytest.approx(2.0, abs=0.6)
    assert {path.stem for path in saved(tmp_path / "out").values()} == {"contact_sheet"}


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", "video_format_forbidden"), (b"hello", "video_not_recognized")],
)
def test_what_is_no_film_is_refused_in_the_shell(up: Up, tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "film.mp4").write_bytes(content)

    done = up.command("submit", "video", "--video", str(tmp_path / "film.mp4"))

    assert done.returncode == 2
    assert "/input/video/part" in done.stderr
    with pytest.raises(RequestRefused, match="send MP4") as refused, up.client() as client:
        client.upload(tmp_path / "film.mp4")
    assert refused.value.code == code


def test_what_it_looks_like_so_far_is_shown_while_it_runs(client: Client) -> None:
    job = client.submit("generate", prompt="fake:sleep=0.2 red", steps=40)

    eventually(lambda: (client.get(job.id).progress.preview or "").startswith("data:image/jpeg;base64,"))

    assert "step" in client.get(job.id).progress.message
    client.cancel(job.id)


def test_a_cancel_frees_the_device_between_two_steps(client: Client) -> None:
    long = client.submit("generate", prompt="fake:sleep=0.3 red", steps=1000)
    eventually(lambda: client.get(long.id).progress.message.startswith("step"))

    client.cancel(long.id)
    job = client.run("embed", texts=["red"], options=Options(priority="low"), timeout=20)

    eventually(lambda: client.get(long.id).status == "canceled")
    assert job.succeeded
    assert client.get(long.id).artifacts == ()


def test_artifacts_vanish_with_their_job(up: Up, client: Client) -> None:
    options = Options(retain_s=1.0)
    job = client.run("generate", prompt="a purple cow", seed=99, options=options, timeout=30)
    [artifact] = job.artifacts
    content = client.download(artifact.href)
    blob = hashlib.sha256(content).hexdigest()
    assert list(up.data_dir.rglob(blob))

    eventually(lambda: httpx.get(f"{up.url}{artifact.href}").status_code == httpx.codes.NOT_FOUND)
    # Not before the grace is over, in which a submit may be about to name it, and the leader's next rounds.
    eventually(lambda: not list(up.data_dir.rglob(blob)), 30)


def test_a_style_that_there_is_not_is_answered_with_those_there_are(
    client: Client, photos: dict[str, Path]
) -> None:
    job = client.run("stylize", images=[photos["red"]], style={"name": "cubism"}, timeout=20)

    assert job.error is not None
    assert job.error.code == "unknown_style"
    assert "purple" in job.error.message

"""Films in real children that hang, hog, die and are killed."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from shared.blobs import BlobStore
from shared.errors import (
    DecoderFailed,
    JobTimeout,
    VideoCorrupt,
    VideoFormatForbidden,
    VideoNotRecognized,
    VideoTooLarge,
    VideoUndecodable,
)
from shared.settings import Limits
from tests.films import BIKES_CUTS, BIKES_TOLERANCE_S, bikes, film, scene
from worker.media.films import Film, Films
from worker.media.footage import Footage
from worker.media.projection import Projection
from worker.media.screening import FilmLimits, Part, Wanted
from worker.media.views import View

DEADLINE_S = 30.0
WANTED = Wanted(
    sample_fps=2.0,
    samples=View(width=32, height=24, fit="stretch"),
    stills=(View(width=48, height=48, fit="inside"),),
    clip=View(width=16, height=16),
    clip_frames=4,
)
SCENES = [scene(50)] * 30 + [scene(190)] * 45

MakeFilms = Callable[..., Films]


@cache
def long_film() -> bytes:
    """Return a film that no test sees to its end by chance."""
    return film([scene(50)] * 600)


def children() -> list[psutil.Process]:
    """The films' children of this process that live."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "worker.media.film_child" in child.cmdline()
    ]


def eventually(condition: Callable[[], Any]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


@pytest.fixture
def make_films() -> Iterator[MakeFilms]:
    made: list[Films] = []

    def make(**options: Any) -> Films:
        terms = {"children": 2, "memory_bytes": 2**31, "cpu_seconds": 60.0, "silence_s": 20.0}
        films = Films(**{**terms, "limits": Limits(), **options})
        made.append(films)
        return films

    yield make
    for films in made:
        films.close()
    assert children() == []
    assert Path("/proc/self/maps").read_text().count("iconotext-picture") == 0


def never() -> None:
    """A job that nobody stops."""


def opened(films: Films, content: bytes, check: Callable[[], None] = never) -> AbstractContextManager[Film]:
    return films.open(io.BytesIO(content), WANTED, check)


def whole(films: Films, content: bytes) -> list[Part]:
    with opened(films, content) as one:
        return list(one.parts())


def test_a_real_film_comes_with_its_real_cuts(make_films: MakeFilms) -> None:
    with bikes().open("rb") as file, make_films().open(file, WANTED, never) as one:
        found = [part.shot for part in one.parts() if part.shot is not None]

        assert (one.title.width, one.title.height, one.title.expected_s) == (640, 272, 10.0)
        assert one.duration_s == 10.0
        assert one.waited_s > 0.0
    assert [shot.start_s for shot in found[1:]] == pytest.approx(BIKES_CUTS, abs=BIKES_TOLERANCE_S)
    assert children() == []


def test_pictures_come_as_the_child_made_them(make_films: MakeFilms) -> None:
    limits = FilmLimits(pixels=10**7, seconds=3600.0, samples=1000)
    content = film(SCENES)
    here = list(Projection(Footage(io.BytesIO(content), limits), WANTED, limits).parts())
    there = whole(make_films(), content)

    mine, theirs = ([sample for part in parts for sample in part.samples] for parts in (here, there))
    assert [one.time_s for one in mine] == [one.time_s for one in theirs]
    assert all((one.pixels == other.pixels).all() for one, other in zip(mine, theirs, strict=True))
    first, second = ([part.shot for part in parts if part.shot] for parts in (here, there))
    for one, other in zip(first, second, strict=True):
        assert (one.start_s, one.end_s, one.middle_s) == (other.start_s, other.end_s, other.middle_s)
        assert all((a == b).all() for a, b in zip(one.stills, other.stills, strict=True))
        assert (np.asarray(one.clip) == np.asarray(other.clip)).all()


def test_a_part_stays_as_it_is_when_the_next_one_comes(make_films: MakeFilms) -> None:
    with opened(make_films(), film(SCENES)) as one:
        parts = one.parts()
        first = next(parts)
        before = first.samples[0].pixels.copy()
        list(parts)

    assert (first.samples[0].pixels == before).all()


def test_the_child_waits_for_whoever_looks(make_films: MakeFilms) -> None:
    """However long the film, it holds no more than the part that lies there and the next."""
    with opened(make_films(), long_film()) as one:
        next(one.parts())
        (child,) = children()
        eventually(lambda: child.status() == psutil.STATUS_SLEEPING)
        used = child.cpu_times().user

        assert not wait_for(lambda: child.cpu_times().user > used + 0.05, 0.3)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_film_that_has_a_file_of_its_own_is_not_copied(make_films: MakeFilms, tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    stored = blobs.put(long_film())

    with blobs.open(stored) as file, make_films().open(file, WANTED, never) as one:
        (child,) = children()
        assert any(stored in link for link in links(child))
        next(one.parts())


def test_a_film_in_a_store_without_files_is_read_too(make_films: MakeFilms) -> None:
    blobs = BlobStore("memory://films")
    stored = blobs.put(film(SCENES))

    with blobs.open(stored) as file, make_films().open(file, WANTED, never) as one:
        assert len([part for part in one.parts() if part.shot]) == 2


def links(child: psutil.Process) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{child.pid}/fd").iterdir()]


def test_a_child_can_open_nothing_and_knows_no_secret(
    make_films: MakeFilms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICONOTEXT_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    with opened(make_films(memory_bytes=2**31), long_film()) as one:
        next(one.parts())
        (child,) = children()
        limits = (Path("/proc") / str(child.pid) / "limits").read_text().splitlines()
        hard = {line[:26].strip(): line[26:].split()[1] for line in limits}

        assert hard["Max open files"] == "3"
        assert hard["Max address space"] == str(2**31)
        # The socket, where its output goes, and the film.
        assert len(links(child)) == 4
        assert "secret" not in "".join(child.environ().values())


BAD = {
    "playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n", VideoFormatForbidden),
    "concat": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", VideoFormatForbidden),
    "dressed playlist": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom#EXTM3U\n/etc/passwd\n" * 9, VideoCorrupt),
    "empty": (b"", VideoNotRecognized),
    "words": (b"these are just words " * 99, VideoNotRecognized),
    "sound alone": (film([], sound=True), VideoCorrupt),
    "no frames": (
        film(SCENES, options={"movflags": "frag_keyframe+empty_moov"}).partition(b"moof")[0][:-4],
        VideoCorrupt,
    ),
    "cut off": (film(SCENES)[:-400], VideoCorrupt),
    "cut off early": (film(SCENES, "matroska")[:2000], VideoCorrupt),
    "ten hours": (film(SCENES[:2], times=[0.0, 36_000.0]), VideoTooLarge),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_film_gets_a_clear_error_and_the_next_film_is_read(make_films: MakeFilms, name: str) -> None:
    content, kind = BAD[name]
    films = make_films(children=1)

    with pytest.raises(kind):
        whole(films, content)
    assert children() == []
    assert whole(films, film(SCENES[:5]))


def test_a_frame_too_large_is_refused_before_it_is_decoded(make_films: MakeFilms) -> None:
    with pytest.raises(VideoTooLarge, match="px; the limit is"):
        whole(make_films(limits=Limits(video_pixels=10_000)), film(SCENES))


def test_more_frames_than_may_be_looked_at_are_refused(make_films: MakeFilms) -> None:
    with pytest.raises(VideoTooLarge, match="more than 3 frames"):
        whole(make_films(limits=Limits(video_samples=3)), film(SCENES))


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (signal.SIGKILL, r"ended its process \(SIGKILL\)"),
        (signal.SIGSEGV, r"ended its process \(SIGSEGV\)"),
        (signal.SIGXCPU, "takes more than 60 s of a CPU"),
    ],
)
def test_a_child_that_dies_costs_its_own_film_alone(
    make_films: MakeFilms, ending: signal.Signals, message: str
) -> None:
    films = make_films()
    with opened(films, long_film()) as neighbour:
        (other,) = children()
        with pytest.raises(VideoUndecodable, match=message), opened(films, long_film()) as one:  # noqa: PT012  # it dies in between
            (child,) = [child for child in children() if child != other]
            child.send_signal(ending)
            list(one.parts())

        assert sum(len(part.samples) for part in neighbour.parts()) == 48
    assert whole(films, film(SCENES[:5]))


def test_cpu_time_beyond_the_allowance_ends_the_film(make_films: MakeFilms) -> None:
    laborious = Wanted(sample_fps=25.0, samples=View(width=640, height=640))
    content = io.BytesIO(long_film())

    with (
        make_films(cpu_seconds=0.1).open(content, laborious, never) as one,
        pytest.raises(VideoUndecodable, match=r"takes more than 0\.1 s of a CPU"),
    ):
        list(one.parts())


def test_a_child_that_says_nothing_is_given_up(make_films: MakeFilms) -> None:
    with opened(make_films(silence_s=0.3), long_film()) as one:
        (child,) = children()
        child.suspend()

        with pytest.raises(VideoUndecodable, match=r"made no progress for 0\.3 s"):
            list(one.parts())


def test_a_film_that_needs_too_much_memory_is_refused(make_films: MakeFilms) -> None:
    large = film([scene(50, 7680, 4320)])

    with pytest.raises(VideoUndecodable, match="memory"):
        whole(make_films(memory_bytes=600 * 2**20, limits=Limits(video_pixels=10**8)), large)


def test_too_little_memory_for_any_film_is_no_films_fault(make_films: MakeFilms) -> None:
    with pytest.raises(DecoderFailed, match="before it was ready"):
        whole(make_films(memory_bytes=50 * 2**20), film(SCENES))


def test_a_stopped_job_ends_its_child_while_it_waits(make_films: MakeFilms) -> None:
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise JobTimeout("the job took longer than it may")

    with opened(make_films(), long_film(), check) as one:
        (child,) = children()
        child.suspend()
        stopped.set()

        with pytest.raises(JobTimeout):
            list(one.parts())
    assert children() == []


def test_whoever_looks_no_longer_ends_the_child(make_films: MakeFilms) -> None:
    with opened(make_films(), long_film()) as one:
        next(one.parts())

    assert children() == []


def test_films_wait_for_a_place(make_films: MakeFilms) -> None:
    films = make_films(children=1)
    with ThreadPoolExecutor(1) as threads:
        with opened(films, long_film()) as one:
            waiting = threads.submit(whole, films, film(SCENES[:5]))
            next(one.parts())
            assert len(children()) == 1
            assert not waiting.done()
        assert waiting.result(DEADLINE_S)


def test_a_stopped_job_waits_for_no_place(make_films: MakeFilms) -> None:
    films = make_films(children=1)

    def check() -> None:
        raise JobTimeout("the job took longer than it may")

    with opened(films, long_film()), pytest.raises(JobTimeout), opened(films, film(SCENES), check):
        raise AssertionError
    assert whole(films, film(SCENES[:5]))


def test_closing_ends_films_and_those_that_wait(make_films: MakeFilms) -> None:
    films = make_films(children=1)
    with ThreadPoolExecutor(1) as threads, opened(films, long_film()) as one:
        next(one.parts())
        waiting = threads.submit(whole, films, film(SCENES))
        films.close()

        with pytest.raises(DecoderFailed, match="closed"):
            list(one.parts())
        with pytest.raises(DecoderFailed, match="closed"):
            waiting.result(DEADLINE_S)


def test_a_damaged_film_never_ends_the_pool(make_films: MakeFilms) -> None:
    films = make_films()
    content = film(SCENES, "avi")
    for seed in range(4):
        random = np.random.default_rng(seed)
        damaged = bytearray(content)
        for place in random.integers(200, len(content), 50):
            damaged[place] = int(random.integers(256))
        with suppress(VideoCorrupt, VideoUndecodable):
            whole(films, bytes(damaged))


def test_the_worker_itself_loads_no_decoder() -> None:
    code = "import sys, worker.work, worker.tasks.video; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    names = set(run.stdout.split())

    assert "worker.media.films" in names
    assert not names & {"av", "cv2", "scenedetect"}

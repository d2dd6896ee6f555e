"""The pool of decode children, with real processes that hang, hog, die and are killed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from shared.errors import (
    DecoderFailed,
    ImageCorrupt,
    ImageNotRecognized,
    ImageTooLarge,
    ImageUndecodable,
)
from shared.settings import Limits
from worker.media import Decoder, wire
from worker.media import decoder as decoder_module
from worker.media.terms import Terms
from worker.media.views import View

VIEW = View(width=32, height=24)
DEADLINE_S = 30.0
GIB = 2**30

MakeDecoder = Callable[..., Decoder]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(shade: int = 100, kind: str = "PNG") -> bytes:
    return encoded(Image.new("RGB", (64, 48), (shade, shade, shade)), kind)


def children() -> list[psutil.Process]:
    """The decode children of this process that live."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "worker.media.child" in child.cmdline()
    ]


def eventually(condition: Callable[[], Any]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


@pytest.fixture
def make_decoder() -> Iterator[MakeDecoder]:
    made: list[Decoder] = []

    def make(*, start: bool = True, **options: Any) -> Decoder:
        options = {"children": 1, "memory_bytes": GIB, "seconds": 20.0, "limits": Limits(), **options}
        decoder = Decoder(**options)
        made.append(decoder)
        if start:
            decoder.start()
        return decoder

    yield make
    for decoder in made:
        decoder.close()
    assert children() == []
    assert shared_memories() == 0


def shared_memories() -> int:
    """How many decode children's memory this process has mapped."""
    return Path("/proc/self/maps").read_text().count("iconotext-picture")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def held(decoder: Decoder, threads: ThreadPoolExecutor) -> tuple[Future[Any], psutil.Process]:
    """Have the only child stopped, with one image in its hands."""
    (child,) = children()
    child.suspend()
    eventually(lambda: child.status() == psutil.STATUS_STOPPED)
    handed_over = threading.Event()
    send = wire.send

    def tell(*words: Any) -> None:
        send(*words)
        handed_over.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "send", tell)
        future = threads.submit(decoder.decode, plain(), VIEW)
        assert handed_over.wait(DEADLINE_S)
    return future, child


def test_pixels_come_back_as_the_view_wants_them(make_decoder: MakeDecoder) -> None:
    pixels = make_decoder().decode(plain(123), VIEW)
    assert (pixels.shape, pixels.dtype) == ((24, 32, 3), np.uint8)
    assert (pixels == 123).all()


def test_pixels_may_be_written_to(make_decoder: MakeDecoder) -> None:
    """Torch warns of arrays that may not."""
    assert make_decoder().decode(plain(), VIEW).flags.writeable


def test_a_picture_stays_as_it_is_when_its_child_decodes_another(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    first = decoder.decode(plain(1), VIEW)
    decoder.decode(plain(2), VIEW)
    assert (first == 1).all()


def test_a_larger_file_or_view_gets_a_child_with_more_memory(
    make_decoder: MakeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "_SHARED_BYTES", 4096)
    decoder = make_decoder()
    (before,) = children()
    assert (decoder.decode(plain(7), VIEW) == 7).all()
    assert children() == [before]
    large = decoder.decode(plain(8), View(width=200, height=100))
    assert (large == 8).all()
    (after,) = children()
    assert after != before
    assert (decoder.decode(plain(9, "BMP"), VIEW) == 9).all()
    assert children() == [after]
    assert shared_memories() == 1


@pytest.mark.parametrize(("kind", "view"), [("BMP", VIEW), ("PNG", View(width=64, height=64))])
def test_a_file_or_view_beyond_the_most_memory_is_refused_and_costs_no_child(
    make_decoder: MakeDecoder, monkeypatch: pytest.MonkeyPatch, kind: str, view: View
) -> None:
    monkeypatch.setattr(decoder_module, "_MOST_SHARED_BYTES", 4096)
    decoder = make_decoder()
    before = children()
    with pytest.raises(ImageTooLarge, match="the limit of a decode process is 4,096"):
        decoder.decode(plain(7, kind), view)
    assert (decoder.decode(plain(5), VIEW) == 5).all()
    assert children() == before


@pytest.mark.parametrize(
    "lie",
    [
        "sys.exit()",
        "parent.send(b'no message')",
        "parent.send(b'[]')",
        "parent.send(pickle.dumps({}))",
        "os.ftruncate(number, 0)",
        "os.kill(os.getpid(), 11)",
    ],
)
def test_a_hostile_child_costs_its_own_image(
    make_decoder: MakeDecoder, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    code = (
        "import json, os, pickle, socket, sys\n"
        "number = json.loads(sys.argv[1])['shared_descriptor']\n"
        "parent = socket.socket(fileno=0)\n"
        "parent.send(b'{}')\n"
        "parent.recv(65536)\n"
        f"{lie}\n"
    )

    def spawned(terms: Terms, parent: Any) -> Any:
        return subprocess.Popen(
            [sys.executable, "-c", code, terms.written()],
            stdin=parent.fileno(),
            stderr=subprocess.DEVNULL,
            pass_fds=[terms.shared_descriptor],
        )

    with monkeypatch.context() as patch:
        patch.setattr(decoder_module, "_spawned", spawned)
        decoder = make_decoder()
    with pytest.raises(ImageUndecodable, match="ended its process"):
        decoder.decode(plain(), VIEW)
    assert (decoder.decode(plain(5), VIEW) == 5).all()


def test_limits_reach_the_children(make_decoder: MakeDecoder) -> None:
    with pytest.raises(ImageTooLarge, match="3,072 pixels; the limit is 3,000"):
        make_decoder(limits=Limits(image_pixels=3000)).decode(plain(), VIEW)


def test_a_child_survives_what_it_refuses(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    (before,) = children()
    noise = encoded(Image.effect_noise((200, 200), 90), "JPEG")
    with pytest.raises(ImageCorrupt):
        decoder.decode(noise[: len(noise) // 2], VIEW)
    with pytest.raises(ImageNotRecognized):
        decoder.decode(b"", VIEW)
    with pytest.raises(ImageTooLarge):
        decoder.decode(encoded(Image.new("1", (30_000, 30_000))), VIEW)
    assert (decoder.decode(plain(7), VIEW) == 7).all()
    assert children() == [before]


def test_a_child_killed_in_mid_decode_fails_that_image_and_no_other(
    make_decoder: MakeDecoder, threads: ThreadPoolExecutor
) -> None:
    decoder = make_decoder()
    future, child = held(decoder, threads)
    waiting = threads.submit(decoder.decode, plain(5), VIEW)
    child.kill()
    with pytest.raises(ImageUndecodable, match="SIGKILL"):
        future.result(DEADLINE_S)
    assert (waiting.result(DEADLINE_S) == 5).all()


def test_a_child_that_overruns_is_replaced(make_decoder: MakeDecoder, threads: ThreadPoolExecutor) -> None:
    decoder = make_decoder(seconds=0.5)
    future, child = held(decoder, threads)
    with pytest.raises(ImageUndecodable, match=r"takes longer than 0.5 s"):
        future.result(DEADLINE_S)
    assert (decoder.decode(plain(5), VIEW) == 5).all()
    assert child not in children()


def test_a_child_that_dies_between_images_is_nobodys_fault(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    (child,) = children()
    child.kill()
    eventually(lambda: child.status() == psutil.STATUS_ZOMBIE)
    assert (decoder.decode(plain(5), VIEW) == 5).all()


def test_an_image_that_needs_too_much_memory_fails_alone(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(memory_bytes=256 * 2**20)
    with pytest.raises(ImageUndecodable):
        decoder.decode(encoded(Image.new("RGBA", (6000, 6000))), VIEW)
    assert (decoder.decode(plain(5), VIEW) == 5).all()


def test_an_image_that_needs_too_much_time_fails_alone(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(seconds=0.05)
    slow = encoded(Image.effect_noise((5000, 5000), 90), "PNG", compress_level=1)
    with pytest.raises(ImageUndecodable):
        decoder.decode(slow, VIEW)
    assert (decoder.decode(plain(5), VIEW) == 5).all()


def test_sixteen_threads_get_each_its_own_picture(
    make_decoder: MakeDecoder, threads: ThreadPoolExecutor
) -> None:
    decoder = make_decoder(children=2)
    kinds = ["PNG", "BMP", "TIFF"]
    jobs = [
        (shade, threads.submit(decoder.decode, plain(shade, kinds[shade % 3]), VIEW)) for shade in range(200)
    ]
    assert all((future.result(DEADLINE_S) == shade).all() for shade, future in jobs)
    assert len(children()) == 2


def test_closing_fails_who_waits_and_ends_every_child(
    make_decoder: MakeDecoder, threads: ThreadPoolExecutor
) -> None:
    decoder = make_decoder(seconds=3600.0)
    future, _ = held(decoder, threads)
    waiting = threads.submit(decoder.decode, plain(), VIEW)
    decoder.close()
    for refused in (future, waiting, threads.submit(decoder.decode, plain(), VIEW)):
        with pytest.raises(DecoderFailed, match="closed"):
            refused.result(DEADLINE_S)
    assert children() == []


def test_a_decoder_that_never_started_starts_its_children_when_asked(make_decoder: MakeDecoder) -> None:
    assert (make_decoder(start=False).decode(plain(5), VIEW) == 5).all()


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/false"])
def test_children_that_cannot_be_started_are_the_decoders_failure(
    make_decoder: MakeDecoder, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    decoder = make_decoder(start=False)
    with pytest.raises(DecoderFailed):
        decoder.start()
    with pytest.raises(DecoderFailed):
        decoder.decode(plain(), VIEW)
    monkeypatch.undo()
    assert (decoder.decode(plain(5), VIEW) == 5).all()


def test_a_memory_limit_below_any_picture_stops_the_start(make_decoder: MakeDecoder) -> None:
    with pytest.raises(DecoderFailed, match="33,554,432 bytes of memory"):
        make_decoder(memory_bytes=32 * 2**20)


def test_children_hold_no_secrets_and_no_descriptors(
    make_decoder: MakeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICONOTEXT_DATABASE_URL", "postgresql://canary:canary@db/canary")
    make_decoder(children=2)
    for child in children():
        assert "canary" not in str(child.environ())
        assert {int(fd) for fd in os.listdir(f"/proc/{child.pid}/fd")} == {0, 1, 2}  # noqa: PTH208


def test_children_outlive_the_signals_meant_for_their_parent(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    (child,) = children()
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    assert (decoder.decode(plain(5), VIEW) == 5).all()
    assert children() == [child]


def test_children_go_when_their_parent_is_killed() -> None:
    code = (
        "import sys\n"
        "from shared.settings import Limits\n"
        "from worker.media import Decoder\n"
        f"decoder = Decoder(children=2, memory_bytes={GIB}, seconds=20.0, limits=Limits())\n"
        "decoder.start()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        orphans = psutil.Process(parent.pid).children()
        assert len(orphans) == 2
        parent.kill()
        eventually(lambda: all(_is_gone(orphan) for orphan in orphans))


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_descriptors_do_not_leak() -> None:
    # In a process of its own: here, threads of other tests open and close descriptors too.
    code = "from tests.integration.test_media_decoder import decode_and_kill; decode_and_kill()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def decode_and_kill() -> None:
    """Decode 200 pictures while children are killed, and fail when a descriptor or a child is left over."""
    decoder = Decoder(children=2, memory_bytes=GIB, seconds=20.0, limits=Limits())
    decoder.start()
    decoder.decode(plain(), VIEW)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for number in range(200):
        if number % 10 == 0:
            for child in children():
                child.kill()
        try:
            decoder.decode(plain(number % 256), VIEW)
        except ImageUndecodable:
            assert number % 10 < 2, "only a picture near a kill may suffer"
    assert descriptors() == before
    assert len(children()) <= 2
    decoder.close()

"""The process that decodes one film, seen from its parent."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from shared.errors import (
    CallerError,
    DecoderFailed,
    VideoCorrupt,
    VideoFormatForbidden,
    VideoNotRecognized,
    VideoTooLarge,
    VideoUndecodable,
)
from worker.media import wire
from worker.media.memory import Memory, new_descriptor
from worker.media.screening import FilmTerms, Pixels
from worker.media.terms import environment
from worker.media.views import View

#: From spawn to ready; 0.3 s on an idle machine.
_START_SECONDS = 60.0
#: How soon a stopped job is noticed while nothing comes.
_LOOK_S = 0.2
#: Between a child's last word and its end.
_LAST_WORDS_S = 1.0
#: What a child may say of a film.
_ERRORS: dict[str, type[CallerError]] = {
    kind.code: kind
    for kind in (VideoNotRecognized, VideoFormatForbidden, VideoTooLarge, VideoCorrupt, VideoUndecodable)
}


class Projector:
    """One film's child, the socket to it and the memory shared with it; one thread uses it."""

    def __init__(self, file: BinaryIO, terms: FilmTerms, silence_s: float, check: Callable[[], None]) -> None:
        """Start the process and wait until it is ready.

        Args:
            file: the film, at its start; may be closed thereafter.
            terms: with whatever for descriptors.
            silence_s: the child may say nothing for so long.
            check: called a few times a second while nothing comes; may raise.

        Raises:
            DecoderFailed: it does not start.
        """
        self._silence_s = silence_s
        self._check = check
        self._held = ExitStack()
        try:
            with ExitStack() as theirs:
                film = theirs.enter_context(_descriptor(file))
                shared = new_descriptor(terms.shared_bytes)
                theirs.callback(os.close, shared)
                self._memory = self._held.enter_context(closing(Memory(shared, terms.shared_bytes)))
                self._socket, parent = wire.pair()
                self._held.enter_context(self._socket)
                theirs.enter_context(parent)
                self._socket.settimeout(_LOOK_S)
                terms = replace(terms, film_descriptor=film, shared_descriptor=shared)
                self._process = _spawned(terms, parent)
        except OSError as error:
            self._held.close()
            raise DecoderFailed(f"cannot start a process for a video: {error}") from error
        self._wait_until_ready(terms.memory_bytes)

    def say_go_on(self) -> None:
        """Let the child lay down the next part: what lies there was taken."""
        wire.send(self._socket, {"go_on": True})

    def hear(self) -> dict[str, Any]:
        """Return what the child says next.

        Raises:
            CallerError: what the child says of the film.
            PeerLost, OSError: it died, or broke the protocol.
            TimeoutError: it says nothing.
        """
        answer = self._heard_within(self._silence_s)
        if "error" in answer:
            raise _ERRORS.get(str(answer["error"]), VideoUndecodable)(str(answer.get("message")))
        return answer

    def pictures(self, views: Sequence[View]) -> list[Pixels]:
        """Return what lies in the shared memory, a copy: one picture in each view, one behind the other."""
        sizes = [(view.height, view.width, 3) for view in views]
        count = sum(height * width * depth for height, width, depth in sizes)
        if count > self._memory.capacity:
            raise wire.PeerLost("more pictures than there is room for")
        together = np.empty(count, np.uint8)
        if count:
            self._memory.take_into(together.data.cast("B"))
        ends = np.cumsum([height * width * depth for height, width, depth in sizes])[:-1]
        return [part.reshape(size) for part, size in zip(np.split(together, ends), sizes, strict=False)]

    def kill(self) -> None:
        """Have the process end; any thread may."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self._held.close()

    def ended(self) -> str:
        """Have the process end, unless it is about to by itself, and return how it ended."""
        try:
            code = self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"status {code}"

    def _wait_until_ready(self, memory_bytes: int) -> None:
        try:
            self._heard_within(_START_SECONDS)
        except (wire.PeerLost, OSError) as error:
            ending = self.ended()
            self.close()
            raise DecoderFailed(
                f"a process for a video ended before it was ready ({ending}); it has {memory_bytes:,} "
                "bytes of memory: 1 GiB is little, 2 GiB are plenty"
            ) from error
        except BaseException:
            self.close()
            raise

    def _heard_within(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            self._check()
            try:
                return wire.receive(self._socket)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise


@contextmanager
def _descriptor(file: BinaryIO) -> Iterator[int]:
    """Lend a descriptor of the file's content: the file's own, or that of a copy without a name."""
    try:
        yield file.fileno()
    except io.UnsupportedOperation:
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, 2**20)
            copy.seek(0)
            yield copy.fileno()


def _spawned(terms: FilmTerms, parent: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "worker.media.film_child", terms.written()],
        stdin=parent.fileno(),
        stdout=subprocess.DEVNULL,
        pass_fds=[terms.film_descriptor, terms.shared_descriptor],
        env=environment(),
    )

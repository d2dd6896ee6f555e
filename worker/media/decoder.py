"""A pool of decode children. One bad image costs at most one child, and only its own job."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import (
    CallerError,
    DecoderFailed,
    ImageCorrupt,
    ImageFormatForbidden,
    ImageNotRecognized,
    ImageTooLarge,
    ImageUndecodable,
)
from shared.settings import Limits
from worker.media import wire
from worker.media.views import View

_PROJECT = Path(__file__).parents[2]
#: From spawn to ready; 0.1 s on an idle machine.
_START_SECONDS = 60.0
#: What a child may say of an image.
_ERRORS: dict[str, type[CallerError]] = {
    kind.code: kind
    for kind in (ImageNotRecognized, ImageFormatForbidden, ImageTooLarge, ImageCorrupt, ImageUndecodable)
}
_Answer = tuple[dict[str, Any], bytearray]


class Child:
    """One decode process and the socket to it. Whoever holds it is its only user."""

    def __init__(self, memory_bytes: int, cpu_seconds: float) -> None:
        """Start the process and wait until it is ready.

        Raises:
            DecoderFailed: it does not start.
        """
        command = [sys.executable, "-P", "-m", "worker.media.child", str(memory_bytes), str(cpu_seconds)]
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=_environment()
                )
        except OSError as error:
            self._socket.close()
            raise DecoderFailed(f"cannot start a decode process: {error}") from error
        try:
            wire.receive(self._socket, max_body=0, deadline=time.monotonic() + _START_SECONDS)
        except (wire.PeerLost, OSError) as error:
            self.end()
            raise DecoderFailed(
                f"a decode process ended before it was ready ({self.ending}); it has {memory_bytes:,} bytes "
                "of memory: 256 MiB is little, 1 GiB is plenty"
            ) from error

    def ask(self, head: dict[str, Any], content: bytes, answer_bytes: int, seconds: float) -> _Answer:
        """Return the child's head and body.

        Raises:
            PeerLost, OSError: it died, or broke the protocol.
            TimeoutError: it took longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        self._socket.settimeout(seconds)
        wire.send(self._socket, head, content)
        head, body = wire.receive(self._socket, max_body=answer_bytes, deadline=deadline)
        if "error" not in head and len(body) != answer_bytes:
            raise wire.PeerLost(f"answers {len(body)} bytes for {answer_bytes}")
        return head, body

    def end(self) -> None:
        """Kill the process and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        self._socket.close()

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def ending(self) -> str:
        """Return how the ended process ended."""
        code = self.process.returncode
        return signal.Signals(-code).name if code < 0 else f"status {code}"


class Decoder:
    """Decodes images in children that die in the place of this process."""

    def __init__(self, *, children: int, memory_bytes: int, seconds: float, limits: Limits) -> None:
        """Describe the pool; `start` makes it.

        Args:
            children: processes, and so images at a time.
            memory_bytes: address space of one child, its interpreter (about 60 MB) included.
            seconds: wall time, and CPU time, of one image.
            limits: sizes that are refused by their header.
        """
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._limits = {"image_pixels": limits.image_pixels, "image_side": limits.image_side}
        self._changed = threading.Condition()
        #: The pool's places that nobody uses now, the last used last; None: no child there yet. A dead child
        #: keeps its place until somebody needs it.
        self._free: list[Child | None] = [None] * children
        self._living: set[Child] = set()
        self._closed = False

    def start(self) -> None:
        """Start every child.

        Raises:
            DecoderFailed: one does not start.
        """
        with ExitStack() as all_at_once:
            for _ in range(len(self._free)):
                all_at_once.enter_context(self._child())

    def close(self) -> None:
        """End every child; whoever waits for one, or for a picture, gets `DecoderFailed`."""
        with self._changed:
            self._closed = True
            for child in self._living:
                child.process.kill()
            self._changed.notify_all()
            free, self._free = self._free, []
        for idle in free:
            self._end(idle)
        with self._changed:
            self._changed.wait_for(lambda: not self._living)

    def decode(self, content: bytes, view: View) -> NDArray[np.uint8]:
        """Return the picture as a model wants to see it: uint8 of shape (height, width, 3), RGB, upright.

        Blocks until a child is free and has answered; any number of threads may call.

        Raises:
            ImageNotRecognized, ImageFormatForbidden, ImageTooLarge: by its header.
            ImageCorrupt: its pixels are broken.
            ImageUndecodable: it broke the limit of memory or time, or the child that decoded it.
            DecoderFailed: no child can be started, or the pool is closed.
        """
        with self._child() as child:
            head, pixels = self._ask(child, content, view)
        if "error" in head:
            raise _ERRORS.get(str(head["error"]), ImageUndecodable)(str(head.get("message")))
        return np.frombuffer(pixels, np.uint8).reshape(view.height, view.width, 3)

    def _ask(self, child: Child, content: bytes, view: View) -> _Answer:
        request = {"view": asdict(view), "limits": self._limits}
        try:
            return child.ask(request, content, view.width * view.height * 3, self._seconds)
        except (wire.PeerLost, OSError) as error:
            self._end(child)
            if self._closed:
                raise DecoderFailed("the decoder is closed") from error
            if isinstance(error, TimeoutError):
                raise ImageUndecodable(f"decoding the image takes longer than {self._seconds:g} s") from error
            raise ImageUndecodable(f"decoding the image ended its process ({child.ending})") from error

    @contextmanager
    def _child(self) -> Iterator[Child]:
        """Lend a living child to one caller."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed)
            if self._closed:
                raise DecoderFailed("the decoder is closed")
            child = self._free.pop()
        try:
            if child is None or not child.is_alive:
                self._end(child)
                child = self._spawn()
            yield child
        finally:
            self._take_back(child)

    def _take_back(self, child: Child | None) -> None:
        with self._changed:
            if not self._closed:
                self._free.append(child)
                self._changed.notify()
                return
        self._end(child)

    def _spawn(self) -> Child:
        child = Child(self._memory_bytes, self._seconds)
        with self._changed:
            self._living.add(child)
        return child

    def _end(self, child: Child | None) -> None:
        if child is not None:
            child.end()
            with self._changed:
                self._living.discard(child)
                self._changed.notify_all()


def _environment() -> dict[str, str]:
    """Return what a child needs to find its interpreter's parts: not the parent's secrets."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
    # One malloc arena: each reserves 64 MiB of the address space that the child may use.
    return {**kept, "PYTHONPATH": str(_PROJECT), "MALLOC_ARENA_MAX": "1"}

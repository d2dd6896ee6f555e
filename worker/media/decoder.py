"""A pool of decode children. One bad image costs at most one child, and only its own job."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
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
from worker.media.memory import Memory, new_descriptor
from worker.media.terms import Terms, environment
from worker.media.views import View, inside

#: From spawn to ready; 0.1 s on an idle machine.
_START_SECONDS = 60.0
#: What a child may say of an image.
_ERRORS: dict[str, type[CallerError]] = {
    kind.code: kind
    for kind in (ImageNotRecognized, ImageFormatForbidden, ImageTooLarge, ImageCorrupt, ImageUndecodable)
}
#: Shared with each child: no file that the API takes is larger, and no view of a model. Takes room when used.
_SHARED_BYTES = 32 * 2**20
#: What it grows to, in a new child, for a larger file or view; never beyond this share of a child's memory.
_MOST_SHARED_BYTES = 256 * 2**20
_SHARE_OF_MEMORY = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture as a model wants to see it."""

    #: uint8 of shape (height, width, 3), RGB, upright, in the view.
    pixels: NDArray[np.uint8]
    #: Of the whole picture, upright, in pixels.
    width: int
    height: int


class Child:
    """One decode process, the socket to it and the memory shared with it; whoever holds it alone uses it."""

    def __init__(self, memory_bytes: int, shared_bytes: int, seconds: float, limits: Limits) -> None:
        """Start the process and wait until it is ready.

        Raises:
            DecoderFailed: it does not start.
        """
        self._held = ExitStack()
        try:
            with ExitStack() as theirs:
                descriptor = new_descriptor(shared_bytes)
                theirs.callback(os.close, descriptor)
                self._memory = self._held.enter_context(closing(Memory(descriptor, shared_bytes)))
                self._socket, parent = wire.pair()
                self._held.enter_context(self._socket)
                theirs.enter_context(parent)
                terms = Terms(
                    memory_bytes=memory_bytes,
                    cpu_seconds=seconds,
                    image_pixels=limits.image_pixels,
                    image_side=limits.image_side,
                    shared_descriptor=descriptor,
                    shared_bytes=shared_bytes,
                )
                self.process = _spawned(terms, parent)
        except OSError as error:
            self._held.close()
            raise DecoderFailed(f"cannot start a decode process: {error}") from error
        try:
            self._socket.settimeout(_START_SECONDS)
            wire.receive(self._socket)
        except (wire.PeerLost, OSError) as error:
            self.end()
            raise DecoderFailed(
                f"a decode process ended before it was ready ({self.ending}); it has {memory_bytes:,} bytes "
                "of memory: 256 MiB is little, 1 GiB is plenty"
            ) from error
        self._socket.settimeout(seconds)

    @property
    def shared_bytes(self) -> int:
        """Return the largest file, and the most pixels' bytes, that it can be asked for."""
        return self._memory.capacity

    def ask(self, content: bytes, view: View) -> Picture:
        """Return the picture that the child makes of a file, a copy.

        Raises:
            CallerError: what the child says of the image.
            PeerLost, OSError: it died, or broke the protocol.
            TimeoutError: it took longer than it may.
        """
        used = max(len(content), view.width * view.height * 3)
        try:
            self._memory.put(content)
            wire.send(self._socket, {"bytes": len(content), "view": asdict(view)})
            answer = wire.receive(self._socket)
            if "error" in answer:
                raise _ERRORS.get(str(answer["error"]), ImageUndecodable)(str(answer.get("message")))
            whole = _said_size(answer, "whole")
            size = inside(view, whole) if view.fit == "inside" else (view.width, view.height)
            if _said_size(answer, "size") != size:
                raise wire.PeerLost("the picture has not the size that was asked for")
            pixels = np.empty((size[1], size[0], 3), np.uint8)
            self._memory.take_into(pixels.data.cast("B"))
        finally:
            self._memory.trim(used)
        return Picture(pixels, *whole)

    def end(self) -> None:
        """Kill the process and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        self._held.close()

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
        self._limits = limits
        self._most_shared_bytes = min(_MOST_SHARED_BYTES, memory_bytes // _SHARE_OF_MEMORY)
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
                all_at_once.enter_context(self._child(0))

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
        """Return the pixels of `picture`."""
        return self.picture(content, view).pixels

    def picture(self, content: bytes, view: View) -> Picture:
        """Return the picture as a model wants to see it, and how large it was.

        Blocks until a child is free and has answered; any number of threads may call.

        Raises:
            ImageNotRecognized, ImageFormatForbidden, ImageTooLarge: by its header.
            ImageCorrupt: its pixels are broken.
            ImageUndecodable: it broke the limit of memory or time, or the child that decoded it.
            DecoderFailed: no child can be started, or the pool is closed.
        """
        needed = max(len(content), view.width * view.height * 3)
        if needed > self._most_shared_bytes:
            raise ImageTooLarge(
                f"the image's file or its view has {needed:,} bytes; "
                f"the limit of a decode process is {self._most_shared_bytes:,}"
            )
        with self._child(needed) as child:
            return self._ask(child, content, view)

    def _ask(self, child: Child, content: bytes, view: View) -> Picture:
        try:
            return child.ask(content, view)
        except (wire.PeerLost, OSError) as error:
            self._end(child)
            if self._closed:
                raise DecoderFailed("the decoder is closed") from error
            if isinstance(error, TimeoutError):
                raise ImageUndecodable(f"decoding the image takes longer than {self._seconds:g} s") from error
            raise ImageUndecodable(f"decoding the image ended its process ({child.ending})") from error

    @contextmanager
    def _child(self, needed: int) -> Iterator[Child]:
        """Lend a living child, with this much shared memory at least, to one caller."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed)
            if self._closed:
                raise DecoderFailed("the decoder is closed")
            child = self._free.pop()
        try:
            if child is None or child.shared_bytes < needed or not child.is_alive:
                self._end(child)
                child = self._spawn(needed)
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

    def _spawn(self, needed: int) -> Child:
        shared = min(max(_SHARED_BYTES, needed), self._most_shared_bytes)
        child = Child(self._memory_bytes, shared, self._seconds, self._limits)
        with self._changed:
            self._living.add(child)
        return child

    def _end(self, child: Child | None) -> None:
        if child is not None:
            child.end()
            with self._changed:
                self._living.discard(child)
                self._changed.notify_all()


def _said_size(answer: dict[str, Any], name: str) -> tuple[int, int]:
    """Return a size that a child names: two numbers above zero, or it does not keep to the protocol."""
    match answer.get(name):
        case [int(width), int(height)] if width > 0 and height > 0:
            return width, height
        case _:
            raise wire.PeerLost(f"the answer has no {name}")


def _spawned(terms: Terms, parent: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "worker.media.child", terms.written()],
        stdin=parent.fileno(),
        stdout=subprocess.DEVNULL,
        pass_fds=[terms.shared_descriptor],
        env=environment(),
    )

"""A film's child: `python -m worker.media.film_child TERMS`, its parent on standard input.

It holds one film, shows it once, and may die: another film gets another child.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict

import av
import cv2
from PIL import Image

from shared.errors import CallerError, VideoUndecodable
from worker.media import screening, wire
from worker.media.child import allow_cpu, confine
from worker.media.footage import Footage
from worker.media.memory import Memory
from worker.media.projection import Projection
from worker.media.screening import FilmTerms, Part

_LEAST_BYTES = 64 * 2**20
#: Of an error's message; a packet has room for it.
_MAX_MESSAGE = 2000
#: How far the models, which share the cores, go before the film.
_NICENESS = 10


def serve(parent: socket.socket, memory: Memory, mine: FilmTerms) -> None:
    """Show the film, as fast as the parent takes it.

    Each word but the first waits until the parent has taken the one before, and with it what lies in the
    shared memory; the parent may be busy with that while the next is decoded. Nothing is left unread at the
    end: closing would then take the last word from the parent, too.
    """
    wire.send(parent, {"ready": True})
    for word, pixels in _words(mine):
        wire.receive(parent)
        memory.put(pixels)
        wire.send(parent, word)


def _words(mine: FilmTerms) -> Iterator[tuple[dict[str, object], bytes]]:
    """Yield what there is to say of the film, and the pictures that belong to it."""
    try:
        with os.fdopen(mine.film_descriptor, "rb") as film:
            footage = Footage(film, mine.limits)
            yield {"title": asdict(footage.title)}, b""
            for part in Projection(footage, mine.wanted, mine.limits).parts():
                yield _said(part), _pixels(part)
        yield {"end_s": footage.time_s}, b""
    except CallerError as error:
        yield {"error": error.code, "message": error.message[:_MAX_MESSAGE]}, b""
    except MemoryError:
        message = "decoding the video needs more memory than one video may have"
        yield {"error": VideoUndecodable.code, "message": message}, b""
    except (av.error.FFmpegError, cv2.error) as error:
        message = f"the video's frames cannot be shown: {error}"[:_MAX_MESSAGE]
        yield {"error": VideoUndecodable.code, "message": message}, b""


def _pixels(part: Part) -> bytes:
    """Return the samples, then the shot's stills, then its clip."""
    pictures = [sample.pixels for sample in part.samples]
    if part.shot is not None:
        pictures += part.shot.stills
        pictures += [] if part.shot.clip is None else [part.shot.clip]
    return b"".join(picture.tobytes() for picture in pictures)


def _said(part: Part) -> dict[str, object]:
    shot = part.shot
    return {
        "time_s": part.time_s,
        "samples": [sample.time_s for sample in part.samples],
        "shot": None if shot is None else [shot.start_s, shot.end_s, shot.middle_s],
    }


def main() -> None:
    """Serve the parent on standard input."""
    mine = screening.read(sys.argv[1])
    Image.preinit()
    memory = Memory(mine.shared_descriptor, mine.shared_bytes)
    # Whatever is open beside the film, the copies of descriptors that mappings keep among it.
    os.closerange(3, mine.film_descriptor)
    os.closerange(mine.film_descriptor + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.nice(_NICENESS)
    confine(mine.memory_bytes)
    allow_cpu(mine.cpu_seconds)
    # A limit too low for any film shows here, before it is taken for this film's fault.
    bytearray(_LEAST_BYTES)
    try:
        serve(socket.socket(fileno=sys.stdin.fileno()), memory, mine)
    except (wire.PeerLost, ConnectionError):
        sys.exit(0)


if __name__ == "__main__":
    main()

"""A decode child: `python -m worker.media.child TERMS`, its parent on standard input.

It holds nothing worth stealing, one image at a time, and may die: the parent starts another.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import sys
import time

# Pillow would import these when a picture first needs them; once confined, a child can open no file.
from PIL import Image, ImageCms, ImageColor, ImageOps, ImagePalette, MpoImagePlugin  # noqa: F401

from shared.errors import CallerError
from worker.media import images, terms, wire
from worker.media.memory import Memory
from worker.media.terms import Terms
from worker.media.views import View

_LEAST_BYTES = 64 * 2**20
#: Of an error's message; a packet has room for it.
_MAX_MESSAGE = 2000


def confine(memory_bytes: int) -> None:
    """Give up what decoding does not need: memory, files, sockets, and the signals meant for the parent."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # Standard input, output and error are open; nothing more can be opened.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C and a supervisor's SIGTERM reach the whole group; a child goes when its parent has closed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def allow_cpu(seconds: float) -> None:
    """Let this process use so much more CPU time; then SIGXCPU ends it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    allowed = math.ceil(time.process_time() + seconds)
    if soft != allowed:
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))


def serve(parent: socket.socket, memory: Memory, mine: Terms) -> None:
    """Decode until the parent closes, be it by its death."""
    wire.send(parent, {"ready": True})
    while True:
        allow_cpu(mine.cpu_seconds)
        request = wire.receive(parent)
        try:
            picture = images.framed(memory.take(request["bytes"]), View(**request["view"]), mine)
        except CallerError as error:
            wire.send(parent, {"error": error.code, "message": error.message[:_MAX_MESSAGE]})
        else:
            memory.put(picture.image.tobytes())
            wire.send(parent, {"size": picture.image.size, "whole": picture.whole})


def main() -> None:
    """Serve the parent on standard input."""
    mine = terms.read(sys.argv[1])
    Image.preinit()
    memory = Memory(mine.shared_descriptor, mine.shared_bytes)
    # The descriptor, and the copy of it that a mapping of Python's keeps.
    os.closerange(3, mine.shared_descriptor + 2)
    confine(mine.memory_bytes)
    # A limit too low for any picture shows here, before it is taken for the first picture's fault.
    bytearray(_LEAST_BYTES)
    try:
        serve(socket.socket(fileno=sys.stdin.fileno()), memory, mine)
    except (wire.PeerLost, OSError):
        sys.exit(0)


if __name__ == "__main__":
    main()

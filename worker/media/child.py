"""A decode child: `python -m worker.media.child MEMORY_BYTES CPU_SECONDS`, its parent on standard input.

It holds nothing worth stealing, one image at a time, and may die: the parent starts another.
"""

from __future__ import annotations

import math
import resource
import signal
import socket
import sys
from dataclasses import dataclass

# Pillow would import these when a picture first needs them; once confined, a child can open no file.
from PIL import Image, ImageCms, ImageColor, ImageOps, ImagePalette, MpoImagePlugin  # noqa: F401

from shared.errors import CallerError
from worker.media import images, wire
from worker.media.views import View

_LEAST_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Limits:
    image_pixels: int
    image_side: int


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
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds), hard))


def serve(parent: socket.socket, cpu_seconds: float) -> None:
    """Decode until the parent closes, be it by its death."""
    wire.send(parent, {"ready": True})
    while True:
        allow_cpu(cpu_seconds)
        head, content = wire.receive(parent, max_body=sys.maxsize)
        try:
            frame = images.decode(content, View(**head["view"]), _Limits(**head["limits"]))
        except CallerError as error:
            wire.send(parent, {"error": error.code, "message": error.message})
        else:
            wire.send(parent, {}, frame.tobytes())


def main() -> None:
    """Serve the parent on standard input."""
    memory_bytes, cpu_seconds = int(sys.argv[1]), float(sys.argv[2])
    Image.preinit()
    confine(memory_bytes)
    # A limit too low for any picture shows here, before it is taken for the first picture's fault.
    bytearray(_LEAST_BYTES)
    try:
        serve(socket.socket(fileno=sys.stdin.fileno()), cpu_seconds)
    except (wire.PeerLost, OSError):
        sys.exit(0)


if __name__ == "__main__":
    main()

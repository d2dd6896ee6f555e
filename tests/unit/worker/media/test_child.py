"""What a decode child is, before it sees an image."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "torchvision",
    "transformers",
    "celery",
    "sqlalchemy",
    "pydantic",
    "numpy",
    "flask",
    "structlog",
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("module", ["worker.media", "worker.media.child", "worker.media.views"])
def test_a_child_loads_nothing_but_pillow(module: str) -> None:
    found = run(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))")
    loaded = {name.partition(".")[0] for name in json.loads(found.stdout)}
    assert not loaded & HEAVY


def test_a_child_knows_only_the_formats_it_may_open() -> None:
    found = run(
        "import json, sys\n"
        "from worker.media import child, images\n"
        "from shared.settings import Limits\n"
        "from worker.media.views import View\n"
        "try: images.decode(b'no image at all', View(width=1, height=1), Limits())\n"
        "except images.ImageNotRecognized: pass\n"
        "print(json.dumps([m for m in sys.modules if m.endswith('ImagePlugin')]))"
    )
    names = {name.removeprefix("PIL.").removesuffix("ImagePlugin") for name in json.loads(found.stdout)}
    # Mpo reads some phones' JPEGs; Ppm is loaded by Pillow with the commonest, and never asked.
    assert names <= {"Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP", "Ppm"}


def test_cpu_time_beyond_the_allowance_ends_the_process() -> None:
    ended = run("from worker.media.child import allow_cpu\nallow_cpu(0.2)\nwhile True: pass")
    assert ended.returncode == -signal.SIGXCPU


def test_the_allowance_is_renewed() -> None:
    ended = run(
        "import time\n"
        "from worker.media.child import allow_cpu\n"
        "for _ in range(5):\n"
        "    allow_cpu(0.5)\n"
        "    end = time.process_time() + 0.3\n"
        "    while time.process_time() < end: pass\n"
    )
    assert ended.returncode == 0


def test_a_confined_process_can_take_no_more_memory_and_open_neither_file_nor_socket() -> None:
    ended = run(
        "import socket\n"
        "from worker.media.child import confine\n"
        "confine(512 * 2**20)\n"
        "for greedy in (lambda: bytearray(600 * 2**20), lambda: open('/etc/passwd'), socket.socket):\n"
        "    try: greedy()\n"
        "    except (MemoryError, OSError) as error: print(type(error).__name__, flush=True)\n"
    )
    assert ended.stdout.split() == ["MemoryError", "OSError", "OSError"]

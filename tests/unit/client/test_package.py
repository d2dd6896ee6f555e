"""`pip install iconotext` alone is enough for the client."""

from __future__ import annotations

import subprocess
import sys

#: What only the service needs.
SERVICE = (
    "shared",
    "api",
    "worker",
    "pydantic_settings",
    "sqlalchemy",
    "redis",
    "celery",
    "flask",
    "torch",
    "PIL",
)


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_the_client_loads_nothing_of_the_service() -> None:
    loaded = python("import sys, client, client.cli; print(*sys.modules)").split()
    assert set(SERVICE) & set(loaded) == set()


def test_without_the_service_up_says_what_to_install() -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({SERVICE!r})); "
    call = "sys.argv[1:] = ['up']; sys.stderr = sys.stdout; from client.cli import main\n"
    words = python(block + call + "try: main()\nexcept SystemExit as error: print('status', error.code)")

    assert "pip install 'iconotext[all]'" in words
    assert "status 1" in words

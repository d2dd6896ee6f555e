from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.api.conftest import Api

_HEAVY = ("torch", "torchvision", "transformers", "PIL", "numpy")
_COMPOSE = f"""
import sys
import api.app
api.app.create_app()
print([name for name in {_HEAVY!r} if name in sys.modules])
"""


def test_composing_the_api_loads_no_model_stack(tmp_path: Path) -> None:
    environment = {**os.environ, "ICONOTEXT_DATA_DIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _COMPOSE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == "[]"


def test_a_bad_setting_stops_the_start_and_is_named(tmp_path: Path) -> None:
    environment = {**os.environ, "ICONOTEXT_DATA_DIR": str(tmp_path), "ICONOTEXT_API_PORT": "99999"}

    done = subprocess.run(
        [sys.executable, "-c", _COMPOSE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "ICONOTEXT_API_PORT" in done.stderr


def test_importing_the_composition_root_opens_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "ICONOTEXT_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)}

    subprocess.run([sys.executable, "-c", "import api.app"], env=environment, timeout=60, check=True)

    assert list(tmp_path.iterdir()) == []


def test_closing_twice_is_closing_once(api: Api) -> None:
    api.services.close()
    api.services.close()


def test_every_answer_forbids_sniffing_and_framing(api: Api) -> None:
    for path in ("/livez", "/v1/jobs", "/nowhere", "/openapi.json", "/", "/docs"):
        headers = api.client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Request-Id"]

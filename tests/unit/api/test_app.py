from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.app import create_app
from api.settings import ApiSettings
from shared.errors import BadConfiguration
from tests.unit.api.conftest import WORKER, Api, RecordingHints

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


_MANIFEST = """
summary = "for this test"
"""
_ENTRY = """
[models.{capability}]
backend = "fake"
id = "a model"
architecture = "none"
licence = "none"
grade = "test"
pool = "{pool}"
"""


def _profile(folder: Path, **pools: str) -> Path:
    path = folder / "profile.toml"
    path.write_text(
        _MANIFEST + "".join(_ENTRY.format(capability=name, pool=pool) for name, pool in pools.items())
    )
    return path


def test_a_job_waits_in_the_pool_that_its_models_name(make_api: Callable[..., Api], tmp_path: Path) -> None:
    profile = _profile(tmp_path, TextEncoder="default", ImageEncoder="default", JointEncoder="gpu-large")
    api = make_api(profile=str(profile))

    job = api.client.post("/v1/jobs", json={"task": "embed", "input": {"texts": ["a"]}}).get_json()

    assert api.hints.sent == [("gpu-large", (job["id"],))]
    assert api.services.store.claim(WORKER, ["default"]) == []
    assert [claim.id for claim in api.services.store.claim(WORKER, ["gpu-large"])] == [job["id"]]


@pytest.mark.parametrize("fault", ["no such profile", "not a manifest", "two pools"])
def test_a_manifest_that_cannot_be_used_stops_the_start(tmp_path: Path, fault: str) -> None:
    profile = tmp_path / "profile.toml"
    if fault == "not a manifest":
        profile.write_text("models = 3")
    if fault == "two pools":
        profile = _profile(tmp_path, TextEncoder="cpu", ImageEncoder="gpu-small", JointEncoder="gpu-large")
    settings = ApiSettings(data_dir=tmp_path / "data", profile=str(profile))

    with pytest.raises(BadConfiguration, match=r"profile|pools"):
        create_app(settings, hints=lambda _: RecordingHints())

    # Nothing was opened that would have to be closed.
    assert not (tmp_path / "data").exists()


def test_by_default_64_requests_may_wait_and_others_are_still_served() -> None:
    assert ApiSettings().api_threads >= 64 + 16

"""Somebody else's client, generated from the served document, works with nothing of ours beside it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Up, end

_PACKAGE = "generated_client"
_JOB_S = 30.0
#: What the generator has no code for: a body of a range of media types. Each such body may also be sent as
#: `application/octet-stream`.
_RANGES = {"Unsupported content type image/*", "Unsupported content type video/*"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a service that asks for keys."""
    data = tmp_path_factory.mktemp("generated") / "data"
    up = Up(data, env={"ICONOTEXT_REQUIRE_KEYS": "true", "ICONOTEXT_DATA_DIR": str(data)})
    try:
        yield up.wait_until_ready()
    finally:
        end([up])


@pytest.fixture(scope="module")
def generated(guarded: Up, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Return where the client lies that the generator made, and what the generator said."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.yml"
    # Only without its formatter.
    config.write_text("post_hooks: []\n")
    generator = Path(sys.executable).with_name("openapi-python-client")
    done = subprocess.run(
        [
            *(generator, "generate", "--url", f"{guarded.url}/openapi.json", "--config", config),
            *("--meta", "none", "--output-path", folder / _PACKAGE),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return SimpleNamespace(folder=folder, said=done.stdout + done.stderr)


@pytest.fixture
def load(generated: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return what imports a module of the generated client."""
    monkeypatch.syspath_prepend(generated.folder)
    return lambda name: import_module(f"{_PACKAGE}.{name}")


@pytest.fixture
def session(load: Callable[[str], ModuleType], guarded: Up) -> Iterator[Any]:
    """Return its session, with a key."""
    made = guarded.command("keys", "create", "generated", "--quiet")
    assert made.returncode == 0, made.stderr
    with load("client").AuthenticatedClient(base_url=guarded.url, token=made.stdout.strip()) as opened:
        yield opened


def test_every_operation_is_generated(guarded: Up, generated: SimpleNamespace) -> None:
    document = httpx.get(f"{guarded.url}/openapi.json").json()
    operations = {one["operationId"] for path in document["paths"].values() for one in path.values()}

    modules = {path.stem for path in (generated.folder / _PACKAGE / "api").glob("*/*.py")} - {"__init__"}

    assert modules == operations


def test_the_generator_stumbles_over_nothing_but_ranges_of_media_types(generated: SimpleNamespace) -> None:
    complaints = re.findall(r"^(?:Unable|Unsupported|Cannot|Could not).*", generated.said, re.MULTILINE)

    assert set(complaints) <= _RANGES
    assert generated.said.count("WARNING parsing") == len(complaints)


def test_it_submits_a_picture_polls_the_job_and_downloads_what_it_made(
    load: Callable[[str], ModuleType], session: Any, photos: dict[str, Path]
) -> None:
    models, jobs = load("models"), "api.jobs"
    ref = models.DetectImageRef(data=base64.b64encode(photos["red"].read_bytes()).decode())
    wanted = models.DetectSubmission(task="detect", input_=models.DetectInput(image=ref, labels=["red"]))

    job = load(f"{jobs}.create_job").sync(client=session, body=wanted)
    deadline = time.monotonic() + _JOB_S
    while job.status not in {"succeeded", "failed"} and time.monotonic() < deadline:
        job = load(f"{jobs}.get_job").sync(job.id, client=session, wait=5.0)
    [artifact] = job.artifacts
    picture = load(f"{jobs}.get_artifact").sync(job.id, artifact.name, client=session)

    assert job.status == "succeeded"
    assert isinstance(job.result, models.DetectResult)
    assert len(picture.payload.read()) == artifact.bytes_


def test_it_uploads_a_file_names_it_in_a_job_and_downloads_it_again(
    load: Callable[[str], ModuleType], session: Any, photos: dict[str, Path]
) -> None:
    models, types = load("models"), load("types")
    content = photos["blue"].read_bytes()

    with photos["blue"].open("rb") as opened:
        file = load("api.files.create_file").sync(client=session, body=types.File(payload=opened))
    ref = models.CaptionImageRef(file=file.id)
    wanted = models.CaptionSubmission(task="caption", input_=models.CaptionInput(image=ref))
    job = load("api.jobs.create_job").sync(client=session, body=wanted, prefer="wait=20")

    assert job.status == "succeeded"
    assert load("api.files.get_file_content").sync(file.id, client=session).payload.read() == content


def test_it_is_told_in_its_own_types_what_was_wrong(load: Callable[[str], ModuleType], guarded: Up) -> None:
    with load("client").AuthenticatedClient(base_url=guarded.url, token="ik_nobody") as stranger:
        refused = load("api.jobs.list_jobs").sync(client=stranger)

    assert isinstance(refused, load("models").Problem)
    assert refused.code == "unauthorized"

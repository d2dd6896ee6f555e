"""A task is two files with one name, and nothing else knows it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.schemas import catalogue

ROOT = Path(__file__).resolve().parents[2]
#: Sorts after every other, so that finding it last is finding it in order.
ADOPTED = "zebra"


def named(folder: str, pattern: str, prefix: str = "") -> set[str]:
    files = (ROOT / folder).glob(pattern)
    return {file.stem.removeprefix(prefix) for file in files if not file.stem.startswith("__")}


def test_every_schema_has_a_pipeline_and_the_reverse() -> None:
    assert named("worker/tasks", "*.py") == set(catalogue())


def test_every_pipeline_is_found_under_its_name() -> None:
    from worker.tasks import pipelines

    assert set(pipelines()) == set(catalogue())


def test_every_task_has_tests_of_its_name() -> None:
    assert named("tests/unit/worker/tasks", "test_*.py", "test_") == set(catalogue())


@pytest.mark.parametrize("task", sorted(catalogue()))
def test_a_task_asks_for_capabilities_that_exist(task: str) -> None:
    from worker.models.capabilities import CAPABILITIES

    assert set(catalogue()[task].needs) <= set(CAPABILITIES)


@pytest.fixture
def adopting(tree: Path) -> Path:
    """Return a tree with one more task: a copy of `classify`, told apart by a default of its own."""
    for folder in ("shared/schemas", "worker/tasks"):
        shutil.copy(tree / folder / "classify.py", tree / folder / f"{ADOPTED}.py")
    schema = tree / "shared" / "schemas" / f"{ADOPTED}.py"
    changed = schema.read_text().replace("top_k: int = Field(default=5,", "top_k: int = Field(default=7,")
    assert changed != schema.read_text()
    schema.write_text(changed)
    # The pipeline is typed and built on its own schema, as a real one would be.
    pipeline = tree / "worker" / "tasks" / f"{ADOPTED}.py"
    pipeline.write_text(pipeline.read_text().replace("shared.schemas.classify", f"shared.schemas.{ADOPTED}"))
    return tree


@pytest.fixture
def known(adopting: Path, tmp_path: Path) -> dict[str, Any]:
    """Return what the house tells of its tasks, as it is with one more."""
    data = tmp_path / "data"
    data.mkdir()
    script = Path(__file__).with_name("adopted_task.py")
    finished = subprocess.run(
        [sys.executable, str(script), str(adopting), str(data)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    found: dict[str, Any] = json.loads((data / "known.json").read_text())
    return found


def test_two_files_more_are_a_task_more(known: dict[str, Any]) -> None:
    expected = [*sorted(catalogue()), ADOPTED]

    assert known["catalogue"] == expected
    assert known["pipelines"] == expected
    assert [task["name"] for task in known["tasks"]] == expected


def test_the_walls_stand_with_a_task_more(adopting: Path) -> None:
    lint = Path(sys.executable).with_name("lint-imports")

    finished = subprocess.run(
        [str(lint), "--no-cache"], cwd=adopting, capture_output=True, text=True, timeout=60, check=False
    )

    assert finished.returncode == 0, finished.stdout


def test_tasks_whose_classes_share_a_name_keep_their_own_schemas(known: dict[str, Any]) -> None:
    tasks = {task["name"]: task for task in known["tasks"]}

    assert tasks["classify"]["input_schema"]["properties"]["top_k"]["default"] == 5
    assert tasks[ADOPTED]["input_schema"]["properties"]["top_k"]["default"] == 7
    assert {found["default"] for found in values(known["openapi"], "top_k")} == {5, 7}


def test_every_reference_in_the_openapi_document_leads_somewhere(known: dict[str, Any]) -> None:
    for reference in values(known["openapi"], "$ref"):
        place: Any = known["openapi"]
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def values(document: Any, key: str) -> Iterator[Any]:
    """Yield whatever stands under a key, at any depth."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from values(value, key)

"""A worker offers the tasks whose models are here, and says why it lacks the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.errors import BadConfiguration
from shared.schemas.base import TaskInput, TaskResult, TaskSchema
from worker.models.offer import Offer, offer
from worker.models.registry import load_profile

GPU = "gpu"


def task(*needs: str, uses: tuple[str, ...] = ()) -> TaskSchema:
    return TaskSchema(summary="x", input=TaskInput, result=TaskResult, needs=needs, uses=uses, example={})


SCHEMAS = {
    "match": task("ImageEncoder", "JointEncoder"),
    "caption": task("Captioner", uses=("Answerer",)),
    "paint": task("Generator"),
    "think": task("Thinker"),
}


def offered(folder: Path, text: str, *pools: str) -> Offer:
    """Return what a worker offers of the fake profile, changed by `text`."""
    own = folder / "own.toml"
    own.write_text(f'extends = "fake"\n{text}')
    profile = load_profile("fake", manifest=own, device="cpu", cache_dir=folder)
    with capture_logs():
        return offer(profile, SCHEMAS, pools or ("default",), profile.missing)


def test_with_all_models_here_it_offers_what_the_profile_can_do(tmp_path: Path) -> None:
    found = offered(tmp_path, "")

    assert found.tasks == ["caption", "match", "paint"]
    assert found.missing == {}
    assert found.models["Captioner"] == {
        "id": "iconotext/fake-captioner",
        "revision": "builtin",
        "grade": "test",
    }


def test_a_task_whose_model_is_missing_is_not_offered(tmp_path: Path) -> None:
    found = offered(tmp_path, '[models.TextEncoder]\nfolder = "none"')

    assert found.tasks == ["caption", "paint"]
    assert found.missing == {
        "TextEncoder": f"folder {tmp_path}/none is not there",
        "JointEncoder": "it is built over TextEncoder, which is missing",
    }
    assert not found.models.keys() & found.missing.keys()


def test_a_model_that_a_task_can_do_without_takes_no_task_away(tmp_path: Path) -> None:
    found = offered(tmp_path, '[models.Answerer]\nfolder = "none"')

    assert found.tasks == ["caption", "match", "paint"]
    assert list(found.missing) == ["Answerer"]


def test_the_models_of_other_pools_are_not_its_concern(tmp_path: Path) -> None:
    text = '[models.Generator]\npool = "gpu"\nfolder = "none"'

    assert offered(tmp_path, text).tasks == ["caption", "match"]
    assert offered(tmp_path, text).missing == {}
    assert list(offered(tmp_path, text, "default", GPU).missing) == ["Generator"]


def test_a_worker_with_nothing_to_do_does_not_start(tmp_path: Path) -> None:
    text = '[models.Generator]\npool = "gpu"\nfolder = "none"'

    with pytest.raises(
        BadConfiguration, match=r"no task has its models here: Generator: folder .* is not there"
    ):
        offered(tmp_path, text, GPU)


def test_a_worker_of_a_pool_without_tasks_starts_and_waits(tmp_path: Path) -> None:
    assert offered(tmp_path, "", "spare").tasks == []


def test_each_missing_model_is_logged_and_then_the_tasks(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "fake"\n[models.Generator]\nfolder = "none"')
    profile = load_profile("fake", manifest=own, device="cpu", cache_dir=tmp_path)

    with capture_logs() as logs:
        offer(profile, SCHEMAS, ["default"], profile.missing)

    one, tasks = logs
    assert (one["event"], one["capability"], one["model"]) == (
        "model missing", "Generator", "iconotext/fake-generator",
    )  # fmt: skip
    assert "is not there" in one["reason"]
    assert (tasks["lacking"], tasks["offered"]) == (["paint"], ["caption", "match"])

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.answers import Catalogue
from shared.jobs import WorkerId
from shared.schemas import catalogue
from shared.settings import Limits
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import mp4, png
from tests.unit.api.problems import refused


def parts_of(value: Any) -> set[str]:
    """Return the names of the parts that an example's refs name."""
    if isinstance(value, dict):
        if set(value) == {"part"}:
            return {value["part"]}
        return set().union(*(parts_of(child) for child in value.values()))
    if isinstance(value, list):
        return set().union(*(parts_of(child) for child in value))
    return set()


def tasks(api: Api) -> dict[str, Any]:
    return {task["name"]: task for task in api.client.get("/v1/tasks").get_json()["tasks"]}


@pytest.fixture
def small(make_api: Callable[..., Api], tmp_path: Path) -> Api:
    """Return a service whose operator has a manifest of three models."""
    manifest = tmp_path / "small.toml"
    entry = 'backend = "fake"\nid = "a/b"\narchitecture = "x"\nlicence = "MIT"\ngrade = "test"\n'
    names = ("TextEncoder", "ImageEncoder", "JointEncoder")
    manifest.write_text('summary = "x"\n' + "".join(f"[models.{name}]\n{entry}" for name in names))
    return make_api(manifest=manifest)


def test_the_catalogue_holds_every_task_with_its_schemas(api: Api) -> None:
    answer = api.client.get("/v1/tasks").get_json()

    assert Catalogue.model_validate(answer, strict=True)
    assert [task["name"] for task in answer["tasks"]] == list(catalogue())
    for task in answer["tasks"]:
        Draft202012Validator.check_schema(task["input_schema"])
        Draft202012Validator.check_schema(task["result_schema"])
        Draft202012Validator(task["input_schema"]).validate(task["example"])


def test_the_catalogue_tells_the_limits_in_force(make_api: Callable[..., Api]) -> None:
    api = make_api(limits=Limits(images=7))

    assert api.client.get("/v1/tasks").get_json()["tasks"][0]["limits"]["images"] == 7


def test_the_catalogue_names_the_models_of_the_ready_workers_with_their_grade(api: Api) -> None:
    encoder = {"id": "an encoder", "revision": "sha256:00", "grade": "starter"}
    other = {"id": "another", "revision": "sha256:01", "grade": "full"}
    for worker in ("w1", "w2"):
        api.services.store.announce(
            WorkerId(worker), {"models": {"ImageEncoder": encoder, "Stylizer": other}}
        )

    assert tasks(api)["match"]["models"] == [{"capability": "ImageEncoder", **encoder}]


def test_models_that_a_task_only_uses_are_named_after_those_that_it_needs(api: Api) -> None:
    model = {"id": "m", "revision": "1", "grade": "starter"}
    api.services.store.announce(
        WorkerId("w1"), {"models": {"Captioner": model, "ImageEncoder": model, "Detector": model}}
    )

    assert [model["capability"] for model in tasks(api)["video"]["models"]] == ["ImageEncoder", "Captioner"]


def test_a_task_is_available_while_a_worker_of_its_pool_offers_it(api: Api) -> None:
    api.services.store.announce(WorkerId("w1"), {"pools": ["default"], "tasks": ["match"]})
    api.services.store.announce(WorkerId("w2"), {"pools": ["elsewhere"], "tasks": ["embed"]})

    found = tasks(api)

    assert (found["match"]["available"], found["match"]["unavailable_because"]) == (True, None)
    assert not found["embed"]["available"]
    assert found["embed"]["unavailable_because"] == "no worker of pool default is ready for it"


def test_a_task_whose_models_are_missing_says_why(api: Api) -> None:
    for worker in ("w1", "w2"):
        missing = {"Captioner": "folder /models/blip is not there", "Generator": "not pulled"}
        api.services.store.announce(
            WorkerId(worker), {"pools": ["default"], "tasks": ["match"], "missing": missing}
        )

    assert tasks(api)["caption"]["unavailable_because"] == "Captioner: folder /models/blip is not there"


def test_one_worker_that_has_the_models_is_enough(api: Api) -> None:
    api.services.store.announce(
        WorkerId("w1"), {"pools": ["default"], "tasks": [], "missing": {"Captioner": "gone"}}
    )
    api.services.store.announce(WorkerId("w2"), {"pools": ["default"], "tasks": ["caption"]})

    assert tasks(api)["caption"]["available"]


def test_a_task_that_the_profile_has_no_model_for_says_so(small: Api) -> None:
    small.services.store.announce(WorkerId("w1"), {"pools": ["default"], "tasks": ["caption"]})

    assert tasks(small)["caption"]["unavailable_because"] == "profile small has no Captioner"


def test_a_job_for_such_a_task_is_refused_at_once(small: Api) -> None:
    before = small.written()

    response = small.client.post("/v1/jobs", json={"task": "caption", "input": {"image": {"data": "AA=="}}})

    problem = refused(response, 422, "not_offered", "/task")
    assert problem["detail"] == "profile small has no Captioner; it offers classify, embed, match, video"
    assert small.written() == before


def test_a_job_whose_model_is_only_missing_now_waits_for_a_worker(make_api: Callable[..., Api]) -> None:
    api = make_api(profile="fake")
    api.services.store.announce(
        WorkerId("w1"), {"pools": ["default"], "tasks": [], "missing": {"TextEncoder": "not pulled"}}
    )

    assert api.client.post("/v1/jobs", json={"task": "embed", "input": {"texts": ["a"]}}).status_code == 202


def test_without_a_ready_worker_the_catalogue_names_no_model(api: Api) -> None:
    assert {str(task["models"]) for task in api.client.get("/v1/tasks").get_json()["tasks"]} == {"[]"}


@pytest.mark.parametrize("task", list(catalogue()))
def test_each_documented_example_is_accepted(make_api: Callable[..., Api], task: str) -> None:
    api = make_api(profile="fake")
    example = dict(catalogue()[task].example)
    files = {"film": mp4()}
    parts = {name: (io.BytesIO(files.get(name, png())), name) for name in parts_of(example)}

    response = api.client.post(
        "/v1/jobs",
        data={"request": json.dumps({"task": task, "input": example}), **parts},
        content_type="multipart/form-data",
    )

    assert response.status_code == 202, response.get_data(as_text=True)

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.answers import Catalogue
from shared.jobs import WorkerId
from shared.schemas import catalogue
from shared.settings import Limits
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import png


def parts_of(value: Any) -> set[str]:
    """Return the names of the parts that an example's refs name."""
    if isinstance(value, dict):
        if set(value) == {"part"}:
            return {value["part"]}
        return set().union(*(parts_of(child) for child in value.values()))
    if isinstance(value, list):
        return set().union(*(parts_of(child) for child in value))
    return set()


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

    tasks = {task["name"]: task for task in api.client.get("/v1/tasks").get_json()["tasks"]}

    assert tasks["match"]["models"] == [{"capability": "ImageEncoder", **encoder}]


def test_without_a_ready_worker_the_catalogue_names_no_model(api: Api) -> None:
    assert {str(task["models"]) for task in api.client.get("/v1/tasks").get_json()["tasks"]} == {"[]"}


@pytest.mark.parametrize("task", list(catalogue()))
def test_each_documented_example_is_accepted(api: Api, task: str) -> None:
    example = dict(catalogue()[task].example)
    parts = {name: (io.BytesIO(png()), f"{name}.png") for name in parts_of(example)}

    response = api.client.post(
        "/v1/jobs",
        data={"request": json.dumps({"task": task, "input": example}), **parts},
        content_type="multipart/form-data",
    )

    assert response.status_code == 202, response.get_data(as_text=True)

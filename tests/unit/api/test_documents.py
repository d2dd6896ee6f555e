from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from api import documents
from api.errors import STATUS
from shared.schemas import catalogue
from tests.unit.api.conftest import Api


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return dict(api.client.get("/openapi.json").get_json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_documented(api: Api, document: dict[str, Any]) -> None:
    documented = {(path, method) for path, method, _ in operations(document)}
    pages = {"/", "/docs", "/openapi.json", "/static/{filename}"}

    for rule in api.app.url_map.iter_rules():
        path = rule.rule
        for argument in rule.arguments:
            path = path.replace(
                next(part for part in path.split("/") if part.endswith(f"{argument}>")), f"{{{argument}}}"
            )
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert path in pages or (path, method) in documented


def test_every_code_is_documented(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == sorted(STATUS)


def test_every_error_answer_is_a_problem(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert set(response["content"]) == {"application/problem+json"}


def test_every_task_has_its_submission_and_an_example_that_fits(document: dict[str, Any]) -> None:
    root = Resource.from_contents(document, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("", root)
    for task, schema in catalogue().items():
        example = {"task": task, "input": dict(schema.example)}
        for name in ("Submission", f"{task}.Submission"):
            Draft202012Validator(
                {"$ref": f"#/components/schemas/{name}"},
                registry=registry,
                _resolver=registry.resolver_with_root(root),
            ).validate(example)


def test_every_example_of_an_answer_or_body_fits_its_schema(document: dict[str, Any]) -> None:
    root = Resource.from_contents(document, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("", root)
    bodies = {
        operation["operationId"]: operation["requestBody"]["content"]["application/json"]["schema"]
        for _, _, operation in operations(document)
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    checked = set()
    for name, schema in {**document["components"]["schemas"], **bodies}.items():
        for example in schema.get("examples", []):
            Draft202012Validator(
                schema, registry=registry, _resolver=registry.resolver_with_root(root)
            ).validate(example)
            checked.add(name)

    assert {"System", "JobBatchAnswer", "JobsAnswer", "get_jobs"} <= checked


def test_a_batch_is_documented_with_an_example_that_fits(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/jobs:batch"]["post"]["requestBody"]["content"]
    root = Resource.from_contents(document, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("", root)
    for example in content["multipart/form-data"]["examples"].values():
        Draft202012Validator(
            content["application/json"]["schema"],
            registry=registry,
            _resolver=registry.resolver_with_root(root),
        ).validate(example["value"]["request"])


def test_a_task_copied_under_another_name_keeps_its_own_schemas(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubled = {**catalogue(), "copied": catalogue()["classify"]}
    monkeypatch.setattr(documents, "catalogue", lambda: doubled)

    schemas = api.client.get("/openapi.json").get_json()["components"]["schemas"]

    assert schemas["copied.Submission"]["properties"]["task"]["const"] == "copied"
    assert schemas["classify.Submission"]["properties"]["task"]["const"] == "classify"
    assert {"copied.ImageRef", "classify.ImageRef", "copied.Input"} <= set(schemas)

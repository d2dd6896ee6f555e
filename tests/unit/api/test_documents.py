from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from api import documents
from api.errors import PROBLEM_TYPE, STATUS
from api.scopes import SCOPES
from shared.schemas import catalogue
from tests.unit.api.conftest import Api

PAGES = {"/", "/docs", "/docs/{filename}", "/openapi.json", "/static/{filename}"}
WRITES = {"POST", "PATCH", "DELETE"}


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return dict(api.client.get("/openapi.json").get_json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def require_fit(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Fail when a value breaks a schema of the document."""
    root = Resource.from_contents(document, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("", root)
    Draft202012Validator(schema, registry=registry, _resolver=registry.resolver_with_root(root)).validate(
        value
    )


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return what a node refers to, or the node itself."""
    place: Any = document
    for name in node.get("$ref", "").split("/")[1:]:
        place = place[name]
    return dict(place) if "$ref" in node else node


def examples(document: dict[str, Any], media: dict[str, Any]) -> list[Any]:
    """Return the examples of a body or an answer, its schema's own among them."""
    shown = [resolved(document, one)["value"] for one in media.get("examples", {}).values()]
    return shown + list(resolved(document, media["schema"]).get("examples", []))


def scope_of(operation: dict[str, Any]) -> str | None:
    """Return the scope that the table of `api.scopes` asks for."""
    [scope] = [scope for name, scope in SCOPES.items() if name.endswith(f".{operation['operationId']}")]
    return scope


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_documented(api: Api, document: dict[str, Any]) -> None:
    documented = {(path, method) for path, method, _ in operations(document)}

    for rule in api.app.url_map.iter_rules():
        path = rule.rule
        for argument in rule.arguments:
            path = path.replace(
                next(part for part in path.split("/") if part.endswith(f"{argument}>")), f"{{{argument}}}"
            )
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert path in PAGES or (path, method) in documented


def test_every_operation_has_a_summary_and_belongs_somewhere(document: dict[str, Any]) -> None:
    told = {tag["name"] for tag in document["tags"]}

    for path, method, operation in operations(document):
        assert operation["summary"], (method, path)
        assert set(operation["tags"]) & told, (method, path)


def test_every_parameter_says_what_it_is(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (method, path, parameter["name"])


def test_every_code_is_documented_with_its_status_and_its_meaning(document: dict[str, Any]) -> None:
    code = document["components"]["schemas"]["Problem"]["properties"]["code"]
    lines = code["description"].splitlines()

    assert code["enum"] == sorted(STATUS)
    assert [line.partition(": ")[0] for line in lines] == [
        f"* `{name}` ({STATUS[name]})" for name in sorted(STATUS)
    ]
    assert all(line.partition(": ")[2].strip().endswith(".") for line in lines)


def test_every_code_has_an_example_that_fits(document: dict[str, Any]) -> None:
    shown = document["components"]["examples"]

    assert shown.keys() == STATUS.keys()
    for code, one in shown.items():
        assert (one["value"]["code"], one["value"]["status"]) == (code, STATUS[code])
        require_fit(document, {"$ref": "#/components/schemas/Problem"}, one["value"])


def test_every_error_answer_is_a_problem_and_names_its_codes(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                [(media_type, content)] = response["content"].items()
                assert media_type == PROBLEM_TYPE
                assert {STATUS[code] for code in content["examples"]} == {int(status)}, (method, path)


def test_every_operation_says_who_may_call_it(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        scope = scope_of(operation)
        if scope is None:
            assert operation["security"] == [], path
            assert not {"401", "429"} & operation["responses"].keys(), path
        else:
            assert operation["security"] == [{"key": []}], (method, path)
            assert f"scope `{scope}`" in operation["description"], (method, path)
            assert {"400", "401", "403", "429", "503"} <= operation["responses"].keys(), (method, path)


def test_every_operation_may_be_answered_with_what_stands_before_all(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        told = operation["responses"]
        assert {"421", "500"} <= told.keys(), (method, path)
        if method in WRITES:
            shown = told["403"]["content"][PROBLEM_TYPE]["examples"]
            assert "origin_not_allowed" in shown, (method, path)
        assert ("408" in told) == ("requestBody" in operation), (method, path)


@pytest.mark.parametrize(
    ("status", "name"),
    [("401", "WWW-Authenticate"), ("416", "Content-Range")]
    + [(status, "Retry-After") for status in ("429", "503", "507")]
    + [("429", "RateLimit"), ("429", "RateLimit-Policy")],
)
def test_a_refusal_is_documented_with_its_headers(document: dict[str, Any], status: str, name: str) -> None:
    found = [
        operation["responses"][status]["headers"][name]
        for _, _, operation in operations(document)
        if status in operation["responses"]
    ]

    assert found
    assert all(resolved(document, one)["schema"] == {"type": "string"} for one in found)


def test_every_task_has_its_submission_and_an_example_that_fits(document: dict[str, Any]) -> None:
    for task, schema in catalogue().items():
        example = {"task": task, "input": dict(schema.example)}
        for name in ("Submission", f"{task}.Submission"):
            require_fit(document, {"$ref": f"#/components/schemas/{name}"}, example)


def test_every_example_of_a_component_fits_it(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        for example in schema.get("examples", []):
            require_fit(document, schema, example)


def test_every_json_answer_has_an_example_that_fits(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            for media_type, media in response.get("content", {}).items():
                if media_type.endswith("json"):
                    shown = examples(document, media)
                    assert shown, (method, path, status)
                    for one in shown:
                        require_fit(document, media["schema"], one)


def test_every_json_body_has_an_example_that_fits(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if media is not None:
            shown = examples(document, media)
            assert shown, (method, path)
            for one in shown:
                require_fit(document, media["schema"], one)


def test_a_form_is_documented_with_an_example_that_fits(document: dict[str, Any]) -> None:
    for path in ("/v1/jobs", "/v1/jobs:batch"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        for example in content["multipart/form-data"]["examples"].values():
            require_fit(document, content["multipart/form-data"]["schema"], example["value"])


def test_a_task_copied_under_another_name_keeps_its_own_schemas(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubled = {**catalogue(), "copied": catalogue()["classify"]}
    monkeypatch.setattr(documents, "catalogue", lambda: doubled)

    schemas = api.client.get("/openapi.json").get_json()["components"]["schemas"]

    assert schemas["copied.Submission"]["properties"]["task"]["const"] == "copied"
    assert schemas["classify.Submission"]["properties"]["task"]["const"] == "classify"
    assert {"copied.ImageRef", "classify.ImageRef", "copied.Input"} <= set(schemas)


def test_every_link_leads_to_an_operation_and_fills_its_path(document: dict[str, Any]) -> None:
    known = {operation["operationId"]: path for path, _, operation in operations(document)}
    links = [
        link
        for _, _, operation in operations(document)
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]

    assert links
    for link in links:
        assert {f"{{{name}}}" for name in link["parameters"]} == set(
            re.findall(r"{\w+}", known[link["operationId"]])
        )

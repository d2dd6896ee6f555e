"""What counts as a breach, on documents as small as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, cast

import pytest

from tests.openapi.breaches import breaches

Change = Callable[[dict[str, Any]], object]


def document() -> dict[str, Any]:
    """Return an older document: one path with a body, an answer, a parameter, and a webhook."""
    return {
        "paths": {
            "/jobs": {
                "post": {
                    "operationId": "create_job",
                    "parameters": [
                        {"in": "query", "name": "wait", "schema": {"type": "number", "maximum": 60}}
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Submit"}}},
                    },
                    "responses": {
                        "200": {
                            "headers": {"Location": {}},
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
                        },
                        "404": {"content": {}},
                    },
                }
            }
        },
        "webhooks": {
            "ended": {
                "post": {
                    "parameters": [{"name": "webhook-id"}],
                    "requestBody": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}}
                    },
                }
            }
        },
        "components": {
            "schemas": {
                "Submit": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["task"],
                    "properties": {
                        "task": {"type": "string", "maxLength": 10},
                        "priority": {"enum": ["high", "low"]},
                        "texts": {"type": "array", "items": {"type": ["string", "null"]}},
                        "style": {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/Style"}]},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "parent": {"anyOf": [{"$ref": "#/components/schemas/Submit"}, {"type": "null"}]},
                    },
                },
                "Style": {"type": "object", "properties": {"name": {"type": "string"}}},
                "Job": {
                    "type": "object",
                    "required": ["id", "status"],
                    "properties": {
                        "id": {"type": "string"},
                        "version": {"type": "integer"},
                        "status": {"enum": ["queued", "done"]},
                        "scores": {"type": "array", "items": {"type": "number"}},
                        "result": {"anyOf": [{"$ref": "#/components/schemas/Style"}, {"type": "null"}]},
                    },
                },
            }
        },
    }


def operation(doc: dict[str, Any]) -> dict[str, Any]:
    return dict(doc["paths"]["/jobs"])["post"]


def submit(doc: dict[str, Any]) -> dict[str, Any]:
    return cast(dict[str, Any], doc["components"]["schemas"]["Submit"])


def job(doc: dict[str, Any]) -> dict[str, Any]:
    return cast(dict[str, Any], doc["components"]["schemas"]["Job"])


def put(place: Callable[[dict[str, Any]], dict[str, Any]], *path: Any, value: Any) -> Change:
    """Return what sets a member of a part of a document."""

    def change(doc: dict[str, Any]) -> None:
        inside: Any = place(doc)
        for name in path[:-1]:
            inside = inside[name]
        inside[path[-1]] = value

    return change


def drop(place: Callable[[dict[str, Any]], dict[str, Any]], *path: Any) -> Change:
    """Return what removes a member of a part of a document."""

    def change(doc: dict[str, Any]) -> None:
        inside: Any = place(doc)
        for name in path[:-1]:
            inside = inside[name]
        del inside[path[-1]]

    return change


def whole(doc: dict[str, Any]) -> dict[str, Any]:
    return doc


PARAMETER = {"in": "query", "name": "key", "schema": {"type": "string"}}

BREACHES: Mapping[str, tuple[Change, str]] = {
    "a path": (drop(whole, "paths", "/jobs"), "POST /jobs is gone"),
    "a method": (drop(whole, "paths", "/jobs", "post"), "POST /jobs is gone"),
    "an operation's name": (put(operation, "operationId", value="make_job"), "another operationId"),
    "a status": (drop(operation, "responses", "404"), "not answered 404"),
    "a header of an answer": (drop(operation, "responses", "200", "headers", "Location"), "header Location"),
    "a media type": (put(operation, "responses", "200", "content", value={}), "is no application/json"),
    "a parameter": (put(operation, "parameters", value=[]), "query parameter wait is gone"),
    "a parameter that was optional": (
        put(operation, "parameters", 0, "required", value=True),
        "required now",
    ),
    "a new parameter that is required": (
        put(operation, "parameters", 0, value={**PARAMETER, "required": True}),
        "key is new and required",
    ),
    "a lower maximum": (put(operation, "parameters", 0, "schema", "maximum", value=59), "maximum 59"),
    "a body": (drop(operation, "requestBody"), "takes no body"),
    "a field of a request": (drop(submit, "properties", "priority"), "body.priority is gone"),
    "a new field that is required": (put(submit, "required", value=["task", "texts"]), "needs texts"),
    "a value of a request's enum": (
        put(submit, "properties", "priority", "enum", value=["high"]),
        "body.priority may not be 'low'",
    ),
    "any value but some": (
        put(submit, "properties", "task", "enum", value=["a"]),
        "may not be anything else",
    ),
    "a type of a request": (put(submit, "properties", "task", "type", value="integer"), "may not be string"),
    "a type inside a list": (
        put(submit, "properties", "texts", "items", "type", value="string"),
        "body.texts[] may not be null",
    ),
    "a shorter text": (put(submit, "properties", "task", "maxLength", value=9), "maxLength 9"),
    "a new bound": (put(submit, "properties", "texts", "maxItems", value=9), "it was free"),
    "a new pattern": (put(submit, "properties", "task", "pattern", value="^a$"), "pattern '^a$'"),
    "a choice of a request": (
        put(submit, "properties", "style", "anyOf", value=[{"$ref": "#/components/schemas/Style"}]),
        "body.style may not be string",
    ),
    "a type of any name": (
        put(submit, "properties", "labels", "additionalProperties", value={"type": "integer"}),
        "body.labels.* may not be string",
    ),
    "a field of an answer": (drop(job, "properties", "scores"), "200.scores is gone"),
    "a field that was always there": (put(job, "required", value=["id"]), "200.status may be missing"),
    "a new type of an answer": (
        put(job, "properties", "id", "type", value=["string", "null"]),
        "200.id may be null now",
    ),
    "a fraction where numbers were whole": (
        put(job, "properties", "version", "type", value="number"),
        "200.version may be number now",
    ),
    "a choice of an answer": (
        put(job, "properties", "result", value={"type": "null"}),
        "200.result may be null now (choice 1)",
    ),
    "a webhook": (drop(whole, "webhooks", "ended"), "webhook ended is gone"),
    "a header of a webhook": (
        put(whole, "webhooks", "ended", "post", "parameters", value=[]),
        "no header webhook-id",
    ),
}

ADDITIONS: Mapping[str, Change] = {
    "nothing": lambda doc: None,
    "a path": put(whole, "paths", "/files", value={"get": {"responses": {}}}),
    "a method": put(whole, "paths", "/jobs", "get", value={"responses": {}}),
    "a status": put(operation, "responses", "429", value={}),
    "an optional parameter": lambda doc: operation(doc)["parameters"].append(PARAMETER),
    "a higher maximum": put(operation, "parameters", 0, "schema", "maximum", value=61),
    "no maximum": drop(operation, "parameters", 0, "schema", "maximum"),
    "an optional body": put(operation, "requestBody", "required", value=False),
    "an optional field of a request": put(submit, "properties", "seed", value={"type": "integer"}),
    "no required field": put(submit, "required", value=[]),
    "a value of a request's enum": put(
        submit, "properties", "priority", "enum", value=["high", "low", "urgent"]
    ),
    "a choice of a request": put(
        submit, "properties", "task", value={"anyOf": [{"type": "string"}, {"type": "integer"}]}
    ),
    "a field of an answer": put(job, "properties", "more", value={"type": "string"}),
    "a value of an answer's enum": put(job, "properties", "status", "enum", value=["queued", "done", "gone"]),
    "fewer types of an answer": put(job, "properties", "scores", "items", "type", value="integer"),
    "another object as a choice of an answer": put(
        job,
        "properties",
        "result",
        "anyOf",
        value=[
            {"$ref": "#/components/schemas/Style"},
            {"$ref": "#/components/schemas/Job"},
            {"type": "null"},
        ],
    ),
    "a name for bytes": put(submit, "properties", "task", "format", value="binary"),
    "other words": put(job, "description", value="A job, told better."),
    "who needs a key": put(operation, "security", value=[{"key": []}]),
    "a webhook": put(whole, "webhooks", "began", value={"post": {}}),
}


@pytest.mark.parametrize("what", BREACHES)
def test_a_client_of_the_older_document_would_miss(what: str) -> None:
    change, words = BREACHES[what]
    newer = deepcopy(document())
    change(newer)

    found = breaches(document(), newer)

    assert found
    assert any(words in one for one in found), found


@pytest.mark.parametrize("what", ADDITIONS)
def test_a_client_of_the_older_document_does_not_notice(what: str) -> None:
    newer = deepcopy(document())
    ADDITIONS[what](newer)

    assert breaches(document(), newer) == []

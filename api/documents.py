"""The OpenAPI 3.1 document: what the routes declare, completed with the bodies of each task.

flask-openapi3 collects paths and parameters. Bodies and answers are written here from the same pydantic
models, because its schema objects know one name per class, and tasks may call their classes alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, Literal

from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel

from api import answers, messages, refusals
from api.errors import STATUS, example, meanings
from api.hooks import Form, NewWebhook, WebhookChange
from api.limits import LARGEST_BATCH
from api.submissions import Submission, Wanted
from shared.schemas import catalogue
from shared.schemas.base import TaskSchema

_COMPONENTS = "#/components/schemas/"
_ANSWERS = (
    answers.Problem, answers.Job, answers.JobSummary, answers.JobPage, answers.JobBatchAnswer,
    answers.JobsAnswer, answers.Deliveries, answers.Delivery, answers.DeliveryPage,
    answers.Webhook, answers.WebhookWithSecret, answers.Webhooks, answers.WebhookSecret,
    answers.StoredFile, answers.Catalogue, answers.System,
    answers.Heads, answers.Readiness, answers.Liveness, messages.JobEnded, messages.WebhookTested,
)  # fmt: skip


#: `format` is what generators go by, `contentMediaType` what OpenAPI 3.1 does.
_BYTES = {"schema": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}}


def answer(description: str, component: str, **headers: str) -> dict[str, Any]:
    """Return the OpenAPI response that holds a component as JSON; headers by name, `_` for `-`."""
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": _COMPONENTS + component}}},
        "headers": {
            name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        },
    }


def downloads(description: str, *ranges: str) -> dict[str, Any]:
    """Return the OpenAPI response that holds bytes of these media types."""
    # Generators know bytes by the name of `application/octet-stream`, and no range of media types.
    return {
        "description": description,
        "content": dict.fromkeys([*ranges, "application/octet-stream"], _BYTES),
    }


def complete(app: OpenAPI) -> dict[str, Any]:
    """Return the whole document."""
    document = deepcopy(app.api_doc)
    schemas = _schemas()
    document["components"] = {
        "schemas": schemas,
        "examples": {code: {"summary": words, "value": example(code)} for code, words in meanings().items()},
        "headers": dict(refusals.HEADERS),
        "securitySchemes": dict(refusals.SECURITY_SCHEMES),
    }
    document["webhooks"] = messages.webhooks()
    schemas["Problem"]["properties"]["code"] |= {"enum": sorted(STATUS), "description": _table_of_codes()}
    for path in document["paths"].values():
        for method, operation in path.items():
            # The library adds its own 422 to whatever declares none.
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
            operation["requestBody"] = _BODIES.get(operation["operationId"], dict)()
            if not operation["requestBody"]:
                del operation["requestBody"]
            operation.setdefault("parameters", []).extend(_headers(operation["operationId"]))
            # Descriptions are Markdown, a summary is not.
            operation["summary"] = operation["summary"].replace("`", "")
            refusals.add_to(operation, method)
            _link(operation)
    return document


def error_codes() -> list[tuple[str, int, str]]:
    """Return every code an answer or a failed job may carry, with its status and its meaning."""
    return [(code, STATUS[code], words) for code, words in meanings().items()]


def _table_of_codes() -> str:
    """Return the codes as Markdown."""
    return "\n".join(f"* `{code}` ({status}): {words}" for code, status, words in error_codes())


def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in _ANSWERS:
        found |= _component(model.__name__, model, mode="serialization")
    for task, schema in catalogue().items():
        found |= _component(f"{task}.Input", schema.input, prefix=f"{task}.")
        found |= _component(f"{task}.Result", schema.result, prefix=f"{task}.", mode="serialization")
        found |= _submission(task, schema)
    found["Submission"] = {
        "oneOf": [{"$ref": f"{_COMPONENTS}{task}.Submission"} for task in catalogue()],
        "discriminator": {
            "propertyName": "task",
            "mapping": {task: f"{_COMPONENTS}{task}.Submission" for task in catalogue()},
        },
    }
    result = found["Job"]["properties"]["result"]
    result["anyOf"] = [*({"$ref": f"{_COMPONENTS}{task}.Result"} for task in catalogue()), {"type": "null"}]
    return found


def _submission(task: str, schema: TaskSchema) -> dict[str, Any]:
    name = f"{task}.Submission"
    found = _component(name, Submission)
    found[name]["description"] = schema.summary
    found[name]["properties"]["task"] = {"const": task}
    found[name]["properties"]["input"] = {"$ref": f"{_COMPONENTS}{task}.Input"}
    found[name]["examples"] = [{"task": task, "input": dict(schema.example)}]
    return found


def _component(
    name: str,
    model: type[BaseModel],
    *,
    prefix: str = "",
    mode: Literal["validation", "serialization"] = "validation",
) -> dict[str, Any]:
    """Return a model's schema under `name`, and its parts under their own names behind `prefix`."""
    schema = model.model_json_schema(ref_template=f"{_COMPONENTS}{prefix}{{model}}", mode=mode)
    parts = {f"{prefix}{part}": body for part, body in schema.pop("$defs", {}).items()}
    found = {**parts, name: schema}
    for component in found.values():
        # A class's name: generators call theirs by it, and tasks may call their classes alike.
        component.pop("title", None)
    return found


def _link(operation: dict[str, Any]) -> None:
    """Say what can be done next with what an operation answers."""
    for follow_up, parameters in _FOLLOW_UPS.get(operation["operationId"], {}).items():
        for status, response in operation["responses"].items():
            if int(status) < 300:
                link = {"operationId": follow_up, "parameters": parameters}
                response.setdefault("links", {})[follow_up] = link


def _headers(operation_id: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "description": text,
            "schema": {"type": "string", **_FORMS.get(name, {})},
        }
        for name, text in _HEADERS.get(operation_id, {}).items()
    ]


_WAYS = (
    "JSON, with images as base64 (`data`) or as ids of uploaded files (`file`); or multipart, with the same "
    "JSON in the part `request` and the images in parts that its refs name (`part`). Where the operator "
    "allows it, a ref may name a URL (`url`) that the worker fetches."
)


def _job_body() -> dict[str, Any]:
    examples = {
        task: {"summary": schema.summary, "value": {"task": task, "input": dict(schema.example)}}
        for task, schema in catalogue().items()
    }
    return _submit_body({"$ref": f"{_COMPONENTS}Submission"}, examples)


def _batch_body() -> dict[str, Any]:
    array = {
        "type": "array",
        "minItems": 1,
        "maxItems": LARGEST_BATCH,
        "items": {"$ref": f"{_COMPONENTS}Submission"},
    }
    both = [{"task": task, "input": dict(schema.example)} for task, schema in catalogue().items()]
    return _submit_body(array, {"one of each": {"summary": "One job of each task.", "value": both}})


def _submit_body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """Return the body that holds submits as JSON, or as a form with their pictures."""
    form = {
        "type": "object",
        "required": ["request"],
        "properties": {"request": schema},
        "additionalProperties": _BYTES["schema"],
    }
    return {
        "required": True,
        "description": _WAYS,
        "content": {
            "application/json": {"schema": schema, "examples": examples},
            "multipart/form-data": {
                "schema": form,
                "examples": {
                    name: {
                        "summary": example["summary"],
                        "value": {"request": example["value"], "photo": "(the file)"},
                    }
                    for name, example in examples.items()
                },
                "encoding": {"request": {"contentType": "application/json"}},
            },
        },
    }


def _ids_body() -> dict[str, Any]:
    return {
        "required": True,
        "description": "The ids of jobs, and how long to wait for them.",
        "content": {"application/json": {"schema": Wanted.model_json_schema()}},
    }


def _form_body(form: type[Form], words: str) -> dict[str, Any]:
    return {
        "required": True,
        "description": words,
        "content": {"application/json": {"schema": form.model_json_schema()}},
    }


def _file_body() -> dict[str, Any]:
    form = {"type": "object", "properties": {"file": _BYTES["schema"]}, "required": ["file"]}
    return {
        "required": True,
        "description": "The bytes as they are, or multipart with one file.",
        "content": {
            "image/*": _BYTES,
            "video/*": _BYTES,
            "application/octet-stream": _BYTES,
            "multipart/form-data": {"schema": form, "example": {"file": "(the file)"}},
        },
    }


_DOWNLOAD_HEADERS = {"Range": "One range of bytes.", "If-None-Match": "The `ETag` of the bytes you have."}
_KEY = (
    "1 to 255 printable ASCII characters, new for each new submit. For 24 hours, the same submit with the "
    "same key is answered with the same job; another one with it is refused."
)
_TRACE = {"X-Request-Id": "Yours, by which logs name this request and its jobs; else it is given one."}
#: What a header's text must be like.
_FORMS = {"Idempotency-Key": {"minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"}}
_HEADERS = {
    "create_job": {
        "Prefer": "`wait=N`: answer when the job has ended, after N seconds at most (RFC 7240).",
        "Idempotency-Key": _KEY,
        **_TRACE,
    },
    "create_jobs": {"Idempotency-Key": _KEY, **_TRACE},
    "create_file": _TRACE,
    "get_job": {"If-None-Match": "The `ETag` of the version you have."},
    "get_file_content": _DOWNLOAD_HEADERS,
    "get_artifact": _DOWNLOAD_HEADERS,
    "get_job_events": {"Last-Event-ID": "The version you have: you are told only what is new."},
}
_ID = "$response.body#/id"
_OF_JOB = ("get_job", "get_job_events", "cancel_job", "retry_job", "get_deliveries", "delete_job")
_OF_FILE = ("get_file", "get_file_content", "delete_file")
_OF_WEBHOOK = (
    "get_webhook", "update_webhook", "test_webhook", "list_webhook_deliveries", "get_webhook_secret",
    "rotate_webhook_secret", "delete_webhook",
)  # fmt: skip
#: By operation, those that take what it answers, and where that stands.
_FOLLOW_UPS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "create_job": {name: {"job_id": _ID} for name in _OF_JOB},
    "create_file": {name: {"file_id": _ID} for name in _OF_FILE},
    "create_webhook": {name: {"webhook_id": _ID} for name in _OF_WEBHOOK},
    "test_webhook": {"redeliver": {"webhook_id": "$request.path.webhook_id", "delivery_id": _ID}},
}
_BODIES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "create_job": _job_body,
    "create_jobs": _batch_body,
    "get_jobs": _ids_body,
    "create_file": _file_body,
    "create_webhook": partial(_form_body, NewWebhook, "Where to tell whom of what."),
    "update_webhook": partial(_form_body, WebhookChange, "What to change."),
}

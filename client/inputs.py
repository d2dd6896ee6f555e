"""From pictures, texts, films and `key=value` words to a task's input, led by the task's JSON Schema.

Nothing here knows a task: one that the service learns tomorrow is filled in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client.errors import RequestRefused
from client.models import Task
from client.pictures import Picture, named

Schema = Mapping[str, Any]

#: Where texts go when the schema offers several places.
_TEXT_NAMES = ("texts", "text")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a task takes pictures, texts and films: found once, used for every job."""

    task: Task
    #: (field, whether it holds many), the best one first.
    images: Sequence[tuple[str, bool]]
    texts: Sequence[tuple[str, bool]]
    videos: Sequence[tuple[str, bool]] = ()

    @classmethod
    def of(cls, task: Task) -> Places:
        """Return the places that a task's schema has."""
        return cls(task, _image_slots(task), _text_slots(task), _slots(task, _is_video, first=("video",)))

    def fill(
        self, images: Sequence[Picture], texts: Sequence[str], videos: Sequence[Picture] = ()
    ) -> dict[str, Any]:
        """Return the fields that pictures, texts and films fill; files as `Path`, `bytes` or `File`.

        Raises:
            RequestRefused: the task has no place for them, or for one only.
        """
        fields: dict[str, Any] = {}
        if images:
            fields |= _fill(self.task, "image", self.images, [named(item) for item in images])
        if texts:
            fields |= _fill(self.task, "text", self.texts, list(texts))
        if videos:
            fields |= _fill(self.task, "video", self.videos, [named(item) for item in videos])
        return fields


def parse_settings(task: Task, words: Sequence[str]) -> dict[str, Any]:
    """Return the fields that `key=value` words set, each value read by its place in the schema.

    A list is `a,b` or JSON, a number is a number, a file is a path, a text is taken as it is. A dot leads
    into an object: `style.name=mosaic`.

    Raises:
        RequestRefused: a word is no `key=value`, or its value cannot be read.
    """
    fields: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise RequestRefused(f"--set takes key=value, got {word!r}", code="usage")
        *outer, last = key.split(".")
        inside = fields
        for name in outer:
            inside = inside.setdefault(name, {})
            if not isinstance(inside, dict):
                raise RequestRefused(f"--set {word}: {name} has a value already", code="usage")
        inside[last] = _parse(task, key, value)
    return fields


def _fill(task: Task, what: str, slots: Sequence[tuple[str, bool]], values: list[Any]) -> dict[str, Any]:
    if not slots:
        raise RequestRefused(
            f"task {task.name!r} has no place for --{what}; it takes {_fields(task)}", code="usage"
        )
    name, many = slots[0]
    if many:
        return {name: values}
    if len(values) > 1:
        others = [f"--set {slot}=..." for slot, _ in slots[1:]]
        advice = f"; did you mean {' or '.join(others)}?" if others else ""
        raise RequestRefused(f"task {task.name!r} takes one {what}, got {len(values)}{advice}", code="usage")
    return {name: values[0]}


def _fields(task: Task) -> str:
    return ", ".join(_properties(task)) or "no input"


def _properties(task: Task) -> Mapping[str, Schema]:
    properties = task.input_schema.get("properties", {})
    return properties if isinstance(properties, dict) else {}


def _image_slots(task: Task) -> list[tuple[str, bool]]:
    return _slots(task, _is_image, first=("images", "image"))


def _text_slots(task: Task) -> list[tuple[str, bool]]:
    return _slots(task, _is_words, first=_TEXT_NAMES)


def _slots(task: Task, fits: Any, *, first: Sequence[str]) -> list[tuple[str, bool]]:
    """Return (field, whether it holds many), by name first, then required ones, then in schema order."""
    required = task.input_schema.get("required", [])
    found = []
    for name, schema in _properties(task).items():
        for shape in _shapes(task, schema):
            if fits(shape):
                found.append((name, False))
                break
            items = shape.get("items")
            if isinstance(items, dict) and any(fits(item) for item in _shapes(task, items)):
                found.append((name, True))
                break
    return sorted(found, key=lambda slot: (slot[0] not in first, slot[0] not in required))


def _shapes(task: Task, schema: Schema) -> Iterator[Schema]:
    """Yield a schema, or each of its alternatives, with `$ref`s followed."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        definitions = task.input_schema.get("$defs", {})
        target = definitions.get(reference.rsplit("/", 1)[-1])
        if isinstance(target, dict):
            yield from _shapes(task, target)
        return
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if not alternatives:
        yield schema
    for alternative in alternatives:
        yield from _shapes(task, alternative)


def _shapes_at(task: Task, path: Sequence[str]) -> list[Schema]:
    """Return what a field may be; its name leads through objects."""
    shapes = list(_shapes(task, _properties(task).get(path[0], {})))
    for name in path[1:]:
        inner = [shape.get("properties", {}).get(name, {}) for shape in shapes]
        shapes = [found for schema in inner for found in _shapes(task, schema)]
    return shapes


def _is_ref(shape: Schema) -> bool:
    return {"file", "data", "part"} <= set(shape.get("properties", {}))


def _is_image(shape: Schema) -> bool:
    return _is_ref(shape) and not _is_video(shape)


def _is_video(shape: Schema) -> bool:
    return _is_ref(shape) and shape["properties"].get("kind", {}).get("const") == "video"


def _is_words(shape: Schema) -> bool:
    # The service marks what a person writes by "not blank"; names and options have no such pattern.
    return shape.get("type") == "string" and shape.get("pattern") == r"\S"


def _parse(task: Task, key: str, value: str) -> Any:
    shapes = _shapes_at(task, key.split("."))
    kinds = {shape.get("type") for shape in shapes}
    if "array" in kinds and not value.startswith("["):
        items: Schema = next(shape.get("items", {}) for shape in shapes if shape.get("type") == "array")
        pictures = any(_is_ref(item) for item in _shapes(task, items))
        words = [word.strip() for word in value.split(",")]
        return [named(word) if pictures else word for word in words]
    if any(_is_ref(shape) for shape in shapes) and not value.startswith("{"):
        return named(value)
    if "string" in kinds:
        return None if value == "null" and "null" in kinds else value
    members = [name for shape in shapes for name in shape.get("properties", ())]
    if members and not value.startswith("{"):
        advice = " or ".join(f"--set {key}.{name}=..." for name in members)
        raise RequestRefused(f"--set {key}={value}: {key} has parts; say {advice}", code="usage")
    return _parse_json(key, value, strict=bool(kinds & {"array", "object", "integer", "number", "boolean"}))


def _parse_json(key: str, value: str, *, strict: bool) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        if strict:
            raise RequestRefused(f"--set {key}={value}: not a JSON value", code="usage") from error
        return value

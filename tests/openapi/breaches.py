"""What in a newer OpenAPI document breaks a client that was made for an older one.

A request that was good stays good; what was answered is answered still, in the same types. Whatever is only
added (paths, fields of answers, optional fields of requests, values of an answer's enum) is no breach, nor
are words, examples and who needs a key: that is a setting of each service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Node = Mapping[str, Any]
_Seen = frozenset[tuple[int, int]]

_MISSING = object()
#: A smaller number of these in a request refuses what was good, a larger one of those.
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
#: A request had to match these, or nothing; other rules may refuse what matched.
_RULES = ("pattern", "format", "multipleOf", "uniqueItems", "propertyNames")


def breaches(old: Node, new: Node) -> list[str]:
    """Return what a newer document takes away, each with its place; none: it only adds."""
    found: list[str] = []
    for path, item in old.get("paths", {}).items():
        for method, operation in item.items():
            place = f"{method.upper()} {path}"
            newer = new.get("paths", {}).get(path, {}).get(method)
            if newer is None:
                found.append(f"{place} is gone")
            else:
                found += _Pair(old, new).of_operations(place, operation, newer)
    for event, item in old.get("webhooks", {}).items():
        newer = new.get("webhooks", {}).get(event)
        if newer is None:
            found.append(f"webhook {event} is gone")
        else:
            found += _Pair(old, new).of_messages(f"webhook {event}", item["post"], newer["post"])
    return found


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two documents, by which references are followed."""

    old: Node
    new: Node

    def of_operations(self, place: str, old: Node, new: Node) -> Iterator[str]:
        if old.get("operationId") != new.get("operationId"):
            yield f"{place} has another operationId, by which clients call it"
        yield from self._of_parameters(place, old, new)
        yield from self._of_bodies(place, old.get("requestBody"), new.get("requestBody"))
        for status, answer in old["responses"].items():
            newer = new["responses"].get(status)
            if newer is None:
                yield f"{place} is not answered {status} any more"
            else:
                yield from self._of_answers(f"{place} -> {status}", answer, newer)

    def of_messages(self, place: str, old: Node, new: Node) -> Iterator[str]:
        gone = {one["name"] for one in old["parameters"]} - {one["name"] for one in new["parameters"]}
        yield from (f"{place} has no header {name} any more" for name in sorted(gone))
        yield from self._of_media(place, old["requestBody"], new["requestBody"], is_sent=False)

    def _of_parameters(self, place: str, old: Node, new: Node) -> Iterator[str]:
        older, newer = _parameters(old), _parameters(new)
        for (where, name), parameter in older.items():
            what = f"{place}: {where} parameter {name}"
            if (now := newer.get((where, name))) is None:
                yield f"{what} is gone"
                continue
            if now.get("required") and not parameter.get("required"):
                yield f"{what} is required now"
            yield from self.narrowed(what, parameter["schema"], now["schema"])
        for (where, name), parameter in newer.items():
            if (where, name) not in older and parameter.get("required"):
                yield f"{place}: {where} parameter {name} is new and required"

    def _of_bodies(self, place: str, old: Node | None, new: Node | None) -> Iterator[str]:
        if new is not None and new.get("required") and not (old or {}).get("required"):
            yield f"{place} needs a body now"
        if old is not None and new is None:
            yield f"{place} takes no body any more"
        elif old is not None and new is not None:
            yield from self._of_media(f"{place} body", old, new, is_sent=True)

    def _of_answers(self, place: str, old: Node, new: Node) -> Iterator[str]:
        gone = old.get("headers", {}).keys() - new.get("headers", {}).keys()
        yield from (f"{place} has no header {name} any more" for name in sorted(gone))
        yield from self._of_media(place, old, new, is_sent=False)

    def _of_media(self, place: str, old: Node, new: Node, *, is_sent: bool) -> Iterator[str]:
        for media_type, media in old.get("content", {}).items():
            newer = new.get("content", {}).get(media_type)
            if newer is None:
                yield f"{place} is no {media_type} any more"
            else:
                compare = self.narrowed if is_sent else self.changed
                yield from compare(place, media.get("schema", {}), newer.get("schema", {}))

    def narrowed(self, place: str, old: Node, new: Node, seen: _Seen = frozenset()) -> Iterator[str]:
        """Yield why something that the old schema of a request takes may be refused by the new one."""
        if (pair := (id(old), id(new))) in seen:
            # A schema that holds itself.
            return
        seen |= {pair}
        older, newer = _choices(self.old, old), _choices(self.new, new)
        if len(older) > 1 or len(newer) > 1:
            yield from self._without_choice(place, older, newer, seen, is_sent=True)
            return
        [was], [now] = older, newer
        if lost := _types(was) - _types(now):
            yield f"{place} may not be {', '.join(sorted(lost))} any more"
        if (values := _values(now)) is not None:
            lost_values = [one for one in _values(was) or [_MISSING] if one not in values]
            if lost_values:
                shown = ", ".join("anything else" if one is _MISSING else repr(one) for one in lost_values)
                yield f"{place} may not be {shown} any more"
        yield from _tighter(place, was, now)
        if fresh := sorted(set(now.get("required", [])) - set(was.get("required", []))):
            yield f"{place} needs {', '.join(fresh)} now"
        if now.get("additionalProperties") is False:
            gone = was.get("properties", {}).keys() - now.get("properties", {}).keys()
            yield from (f"{place}.{name} is gone" for name in sorted(gone))
            if was.get("additionalProperties") is not False and "object" in _types(was) and "type" in was:
                yield f"{place} may have no other fields any more"
        yield from self._inside(place, was, now, seen, is_sent=True)

    def changed(self, place: str, old: Node, new: Node, seen: _Seen = frozenset()) -> Iterator[str]:
        """Yield why a reader of the old schema of an answer may fail on what the new one allows."""
        if (pair := (id(old), id(new))) in seen:
            # A schema that holds itself.
            return
        seen |= {pair}
        older, newer = _choices(self.old, old), _choices(self.new, new)
        if len(older) > 1 or len(newer) > 1:
            yield from self._without_choice(place, older, newer, seen, is_sent=False)
            return
        [was], [now] = older, newer
        if added := _types(now) - _types(was):
            yield f"{place} may be {', '.join(sorted(added))} now"
        kept = now.get("properties", {})
        yield from (f"{place}.{name} is gone" for name in was.get("properties", {}) if name not in kept)
        for name in was.get("required", []):
            if name in kept and name not in now.get("required", []):
                yield f"{place}.{name} may be missing now"
        yield from self._inside(place, was, now, seen, is_sent=False)

    def _inside(self, place: str, old: Node, new: Node, seen: _Seen, *, is_sent: bool) -> Iterator[str]:
        compare = self.narrowed if is_sent else self.changed
        for name, schema in old.get("properties", {}).items():
            if name in new.get("properties", {}):
                yield from compare(f"{place}.{name}", schema, new["properties"][name], seen)
        for name, where in (("items", "[]"), ("additionalProperties", ".*")):
            was, now = old.get(name), new.get(name)
            if isinstance(was, Mapping) and isinstance(now, Mapping):
                yield from compare(f"{place}{where}", was, now, seen)
            elif is_sent and isinstance(now, Mapping) and was is not False and _kinds(now):
                yield f"{place}{where} may not be anything any more"

    def _without_choice(
        self, place: str, old: list[Node], new: list[Node], seen: _Seen, *, is_sent: bool
    ) -> Iterator[str]:
        """Yield which choices have no counterpart; a new one breaks nothing but a reader of its type."""
        compare = self.narrowed if is_sent else self.changed
        for number, was in enumerate(old):
            tried = [list(compare(place, was, now, seen)) for now in new]
            if all(tried):
                # Why, by the choice that comes nearest.
                yield from (f"{one} (choice {number + 1})" for one in min(tried, key=len))
        if not is_sent:
            before = set().union(*map(_types, old))
            if added := set().union(*map(_types, new)) - before:
                yield f"{place} may be {', '.join(sorted(added))} now"


def _parameters(operation: Node) -> dict[tuple[str, str], Node]:
    return {(one["in"], one["name"]): one for one in operation.get("parameters", [])}


def _choices(document: Node, schema: Node) -> list[Node]:
    """Return the schemas of which a value fits one, references followed."""
    if "$ref" in schema:
        place: Any = document
        for name in schema["$ref"].split("/")[1:]:
            place = place[name]
        return _choices(document, place)
    inside = schema.get("anyOf") or schema.get("oneOf")
    if inside is None:
        return [schema]
    return [choice for one in inside for choice in _choices(document, one)]


def _types(schema: Node) -> set[str]:
    """Return the types of a schema's values; an integer is a number as well."""
    kinds = _kinds(schema)
    if not kinds:
        kinds = {"array", "boolean", "null", "number", "object", "string"}
    return kinds | ({"integer"} if "number" in kinds else set())


def _kinds(schema: Node) -> set[str]:
    given = schema.get("type")
    if given is None:
        names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
        return {names[type(one)] for one in _values(schema) or [] if type(one) in names}
    return {given} if isinstance(given, str) else set(given)


def _values(schema: Node) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found: list[Any] | None = schema.get("enum")
    return found


def _tighter(place: str, old: Node, new: Node) -> Iterator[str]:
    for name in (*_UPPER, *_LOWER):
        was, now = old.get(name), new.get(name)
        if now is not None and (was is None or (now < was if name in _UPPER else now > was)):
            yield f"{place} has {name} {now} now, it was {'free' if was is None else was}"
    for name in _RULES:
        # Any bytes are `binary`: it refuses none.
        if name in new and new[name] not in (old.get(name), "binary"):
            yield f"{place} has {name} {new[name]!r} now, it was {old.get(name, 'free')!r}"

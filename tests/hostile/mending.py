"""What JSON Schema cannot say, put right in bodies that fit the schema, so that the service may accept them.

A drawn ref names no file, a drawn URL leads nowhere, and a drawn picture is noise: sent as they are, every
submit would be refused, and "no finding" would mean nothing. Only bodies that fit are changed; what was drawn
to be refused is sent as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.unit.api.pictures import png

#: `Limits.images` and `Limits.texts` of a job: settings, not part of the schema.
_IMAGES, _TEXTS = 64, 256
#: Sides of drawn pictures, so that deleting one never deletes the picture of the stock.
_SIDES = 32
STOCK_PICTURE = png(2 * _SIDES, _SIDES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """What the service was given before the run, and what it may call."""

    picture: str
    film: str
    url: str


def mended(operation_id: str, body: Any, stock: Stock) -> Any:
    """Return a body that fits the schema as one that the service can accept."""
    match operation_id:
        case "create_job":
            return _of_form(body, stock, _submit)
        case "create_jobs":
            return _of_form(body, stock, lambda submits, stock: [_submit(one, stock) for one in submits])
        case "create_file":
            return {"file": _picture(body["file"])} if isinstance(body, dict) else _picture(body)
        case "create_webhook" | "update_webhook":
            return {name: stock.url if name == "url" and body[name] else body[name] for name in body}
        case _:
            return body


def _of_form(body: Any, stock: Stock, submits: Callable[[Any, Stock], Any]) -> Any:
    if isinstance(body, dict) and "request" in body:
        # No ref is left that would name another part.
        return {"request": submits(body["request"], stock)}
    return submits(body, stock)


def _submit(submit: Mapping[str, Any], stock: Stock) -> dict[str, Any]:
    found = {**submit, "input": _input(submit["input"], stock)}
    if submit["task"] == "embed":
        found["input"] = _embed(found["input"])
    if hook := submit.get("webhook"):
        found["webhook"] = {**hook, "url": stock.url}
    return found


def _input(given: Mapping[str, Any], stock: Stock) -> dict[str, Any]:
    found = {name: _field(name, value, stock) for name, value in given.items()}
    # A head must have been trained.
    found.pop("head", None)
    return found


def _embed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input of `embed` with what its space takes."""
    texts = given.get("texts") or ["a cat"]
    match given.get("space"):
        case "text":
            return {**given, "images": [], "texts": texts}
        case "image" if given.get("images"):
            return {**given, "texts": []}
        case _:
            return {**given, "space": "joint", "texts": texts}


def _field(name: str, value: Any, stock: Stock) -> Any:
    picture, film = {"file": stock.picture}, {"file": stock.film}
    single = {"image": picture, "init_image": picture, "video": film, "style": {"image": picture}}
    if name in single:
        return None if value is None else single[name]
    match name, value:
        case "images", list():
            return [picture for _ in value[:_IMAGES]]
        case "rules", list():
            return [{**rule, "name": f"{place}{rule['name']}"[:100]} for place, rule in enumerate(value)]
        case (("texts" | "labels" | "candidates"), list()):
            return value[:_TEXTS]
        case _:
            return value


def _picture(drawn: object) -> bytes:
    """Return a picture of one of many sizes, the same for the same bytes."""
    number = zlib.crc32(repr(drawn).encode())
    return png(1 + number % _SIDES, 1 + number // _SIDES % _SIDES)

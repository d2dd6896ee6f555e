"""How much of a request is read at all."""

from __future__ import annotations

from flask import Flask

from shared.settings import Limits

#: Jobs in one page of a listing; a larger wish is cut to the largest page.
DEFAULT_PAGE = 50
LARGEST_PAGE = 200

#: Parts of a multipart body besides one per image: the request itself, and a few to name in an error.
_SPARE_PARTS = 16
#: Bytes of a `\\uXXXX` escape, the longest way to write a character of JSON.
_ESCAPED_CHAR_BYTES = 6


def cap_bodies(app: Flask, limits: Limits) -> None:
    """Make Flask stop reading where no accepted request goes on."""
    texts = limits.texts * limits.text_chars * _ESCAPED_CHAR_BYTES
    app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes
    # Plain form fields are held in memory: room for the `request` part with every text at its longest.
    app.config["MAX_FORM_MEMORY_SIZE"] = min(limits.body_bytes, texts + 2**20)
    app.config["MAX_FORM_PARTS"] = limits.images + _SPARE_PARTS


def largest_collection(limits: Limits) -> int:
    """Return how many members one JSON list or object of an accepted request can have."""
    return max(limits.images, limits.texts)


def most_values(limits: Limits) -> int:
    """Return how many commas and brackets an accepted body can hold: each character of each text may be one.

    Counting them takes milliseconds; building ten million empty lists takes a gigabyte.
    """
    return limits.texts * limits.text_chars + 100_000

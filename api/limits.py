"""How much of a request is read at all."""

from __future__ import annotations

from flask import Flask

from shared.settings import Limits

#: Jobs in one page of a listing; a larger wish is cut to the largest page.
DEFAULT_PAGE = 50
LARGEST_PAGE = 200
#: Jobs that are submitted, or asked for, in one request.
LARGEST_BATCH = 1_000
#: For all of them to end.
LONGEST_WAIT_S = 60

#: Parts of a multipart body besides one per image: the request itself, and a few to name in an error.
_SPARE_PARTS = 16
#: Bytes of a `\\uXXXX` escape, the longest way to write a character of JSON.
_ESCAPED_CHAR_BYTES = 6


def cap_bodies(app: Flask, limits: Limits) -> None:
    """Make Flask stop reading where no accepted request goes on."""
    app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes


def most_parts(limits: Limits, *, submits: int = 1) -> int:
    """Return how many parts an accepted form can have."""
    return limits.images * submits + _SPARE_PARTS


def largest_field(limits: Limits) -> int:
    """Return how many bytes of JSON a form of one submit can hold: every text at its longest."""
    return limits.texts * limits.text_chars * _ESCAPED_CHAR_BYTES + 2**20


def largest_collection(limits: Limits) -> int:
    """Return how many members one JSON list or object of an accepted submit can have."""
    return max(limits.images, limits.texts)


def most_values(limits: Limits) -> int:
    """Return how many commas and brackets an accepted body can hold: each character of each text may be one.

    Counting them takes milliseconds; building ten million empty lists takes a gigabyte. A batch may hold as
    many as one submit: over a thousand for each of a thousand jobs.
    """
    return limits.texts * limits.text_chars + 100_000

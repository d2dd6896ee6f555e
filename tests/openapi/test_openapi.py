"""The committed copy of the document, and what it owes to the releases before it.

With a release, `api/openapi.json` is copied to `released/<version>.json`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.openapi.breaches import breaches
from tests.openapi.served import COPY, served, text_of

#: What a release refused as well, and its document did not tell.
_TOLD_LATER = {
    "0.4.0": re.compile(
        r"GET /v1/jobs: query parameter (status\[\] has pattern|error may not be anything else) "
        r"|POST /v1/jobs(:batch)?: header parameter Idempotency-Key has (maxLength|minLength|pattern) "
        r"|POST /v1/jobs(:batch)? body(\.request)?(\[\])?\.labels has propertyNames "
        r"|POST /v1/jobs(:batch)? body(\.request)?(\[\])?\.labels\.\* may not be anything "
    )
}
_NOTHING = re.compile(r"(?!)")
RELEASES = sorted((Path(__file__).parent / "released").glob("*.json"))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return served()


def test_the_committed_copy_is_what_the_service_serves(document: dict[str, Any]) -> None:
    is_same = COPY.read_text() == text_of(document)

    assert is_same, "the document has changed: run `make openapi`, look at the difference, and commit it"


def test_the_document_is_the_same_each_time_it_is_made(document: dict[str, Any]) -> None:
    assert text_of(served()) == text_of(document)


@pytest.mark.parametrize("release", RELEASES, ids=lambda file: file.stem)
def test_a_client_of_an_older_release_goes_on_working(document: dict[str, Any], release: Path) -> None:
    found = breaches(json.loads(release.read_text()), document)
    told_later = _TOLD_LATER.get(release.stem, _NOTHING)

    assert [breach for breach in found if not told_later.match(breach)] == []


def test_there_is_a_release_to_compare_with() -> None:
    assert RELEASES

"""The two places where a submit may be cut off, and what is left of it."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from tests.unit.api.conftest import Api
from tests.unit.api.pictures import png

PICTURE = base64.b64encode(png()).decode()
SUBMIT = {"task": "embed", "input": {"images": [{"data": PICTURE}]}}


@pytest.mark.parametrize(
    ("place", "jobs", "files", "blobs"), [("api_after_blobs", 0, 0, 1), ("api_after_commit", 1, 1, 1)]
)
def test_a_submit_that_is_cut_off_leaves_what_was_written_so_far(
    make_api: Callable[..., Api], place: str, jobs: int, files: int, blobs: int
) -> None:
    api = make_api(profile="fake", failpoints=f"{place}=raise")
    answer = api.client.post("/v1/jobs", json=SUBMIT)
    assert (answer.status_code, answer.json["code"]) == (503, "store_unavailable")  # type: ignore[index]
    assert api.written() == (jobs, files, blobs, 0), "and no hint was sent"


def test_a_service_without_failpoints_passes_them(make_api: Callable[..., Api]) -> None:
    api = make_api(profile="fake")
    assert api.client.post("/v1/jobs", json=SUBMIT).status_code == 202
    assert api.written() == (1, 1, 1, 1)

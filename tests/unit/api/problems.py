"""What every refusal must look like."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from api import answers


def refused(response: TestResponse, status: int, code: str, pointer: str | None = None) -> dict[str, Any]:
    """Assert a valid problem document of this status and code, with a fault at this pointer; return it."""
    problem = response.get_json()
    assert response.mimetype == "application/problem+json", response.get_data(as_text=True)
    assert answers.Problem.model_validate(problem, strict=True)
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert problem["request_id"] == response.headers["X-Request-Id"]
    if pointer is not None:
        assert pointer in [error["pointer"] for error in problem["errors"]], problem
    return dict(problem)

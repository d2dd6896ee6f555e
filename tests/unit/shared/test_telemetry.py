"""Logs are one line an event, from structlog and from libraries alike."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from shared import telemetry


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_every_line_is_json_and_names_its_service(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("INFO", "json", "worker")
    structlog.get_logger().info("claimed", job="job_1")
    logging.getLogger("a.library").warning("something %s", "odd")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["service"]) for line in lines] == [
        ("claimed", "info", "worker"),
        ("something odd", "warning", "worker"),
    ]
    assert lines[0]["job"] == "job_1"


def fail_with(secret: str) -> None:
    raise ValueError(f"broken after {len(secret)} characters")


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("INFO", "json", "worker")
    try:
        fail_with("hunter2")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: broken after 7 characters" in json.loads(line)["exception"]


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    telemetry.configure("INFO", log_format, "worker")
    password = "correct horse".replace(" ", "-")
    try:
        fail_with(password)
    except ValueError:
        structlog.get_logger().exception("failed")
    printed = capsys.readouterr().err
    assert "ValueError: broken" in printed
    assert "correct-horse" not in printed


def test_the_level_holds_for_both(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("WARNING", "human", "api")
    structlog.get_logger().info("quiet")
    logging.getLogger("a.library").info("quiet too")
    structlog.get_logger().warning("loud")
    printed = capsys.readouterr().err
    assert "quiet" not in printed
    assert "loud" in printed

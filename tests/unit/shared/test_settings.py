"""Settings come from `ICONOTEXT_*` variables; a bad value stops the start and says which."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import BadConfiguration
from shared.settings import Limits, SharedSettings, read


class RoomSettings(SharedSettings):
    """What a room adds: a list, and a rule over two values."""

    model_config = SettingsConfigDict(env_prefix="ICONOTEXT_")

    doors: list[int] = Field(default_factory=list)

    @model_validator(mode="after")
    def _doors_within_attempts(self) -> RoomSettings:
        if len(self.doors) > self.max_attempts:
            raise ValueError("at most max_attempts doors")
        return self


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ICONOTEXT_")]:
        monkeypatch.delenv(name)


def refusal(kind: type[BaseSettings] = SharedSettings) -> str:
    with pytest.raises(BadConfiguration) as caught:
        read(kind)
    return caught.value.message


def test_the_defaults_need_no_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    settings = read(SharedSettings)

    folder = tmp_path / ".local" / "share" / "iconotext"
    assert settings.resolved_database_url == f"sqlite:///{folder / 'iconotext.db'}"
    assert settings.resolved_blob_url == (folder / "blobs").as_uri()


def test_reading_makes_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ICONOTEXT_DATA_DIR", str(tmp_path / "data"))

    read(SharedSettings)

    assert list(tmp_path.iterdir()) == []


def test_a_url_that_was_set_wins_over_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_DATABASE_URL", "postgresql+psycopg://db/iconotext")
    monkeypatch.setenv("ICONOTEXT_BLOB_URL", "s3://bucket/blobs")

    settings = read(SharedSettings)

    assert settings.resolved_database_url == "postgresql+psycopg://db/iconotext"
    assert settings.resolved_blob_url == "s3://bucket/blobs"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ICONOTEXT_LEASE", "0"),
        ("ICONOTEXT_LEASE", "soon"),
        ("ICONOTEXT_RETAIN", "-PT1S"),
        ("ICONOTEXT_MAX_ATTEMPTS", "0"),
        ("ICONOTEXT_MAX_ATTEMPTS", "three"),
        ("ICONOTEXT_LOG_LEVEL", "LOUD"),
        ("ICONOTEXT_LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_stops_the_start_and_names_its_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    assert refusal().startswith(f"cannot start: {variable}: ")


@pytest.mark.parametrize("field", Limits.model_fields)
def test_a_bad_limit_names_its_own_variable(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ICONOTEXT_MAX_{field.upper()}", "-1")

    assert refusal() == f"cannot start: ICONOTEXT_MAX_{field.upper()}: Input should be greater than 0"


@pytest.mark.parametrize("field", Limits.model_fields)
def test_a_limit_is_set_by_its_own_variable(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ICONOTEXT_MAX_{field.upper()}", "17")

    assert getattr(read(SharedSettings).limits, field) == 17


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = ["ICONOTEXT_MAX_IMAGES", "ICONOTEXT_MAX_TEXTS", "ICONOTEXT_LEASE", "ICONOTEXT_LOG_LEVEL"]
    for variable in bad:
        monkeypatch.setenv(variable, "-1")

    message = refusal()

    assert [part.split(":")[0].strip() for part in message.removeprefix("cannot start:").split(";")] == bad


def test_a_list_that_is_not_json_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_DOORS", "[1, 2")

    assert refusal(RoomSettings) == "cannot start: ICONOTEXT_DOORS: must be JSON"


def test_a_bad_item_of_a_list_names_the_lists_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_DOORS", '[1, "two"]')

    assert refusal(RoomSettings).startswith("cannot start: ICONOTEXT_DOORS: ")


def test_a_broken_rule_over_several_values_says_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_DOORS", "[1, 2, 3, 4]")

    assert refusal(RoomSettings) == "cannot start: at most max_attempts doors"


def test_a_refusal_does_not_repeat_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_MAX_ATTEMPTS", "pasted-a-password-here")

    assert "pasted-a-password-here" not in refusal()


@pytest.mark.parametrize(
    ("value", "seconds"), [("30", 30.0), ("0.5", 0.5), ("PT30S", 30.0), ("P1D", 86_400.0), ("00:01:30", 90.0)]
)
def test_a_duration_is_seconds_or_iso_8601(
    value: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICONOTEXT_LEASE", value)

    assert read(SharedSettings).lease == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_a_duration_without_end_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_LEASE", value)

    assert refusal().startswith("cannot start: ICONOTEXT_LEASE: ")


def test_settings_do_not_change_after_the_start() -> None:
    settings = read(SharedSettings)

    with pytest.raises(ValidationError):
        settings.profile = "full"  # type: ignore[misc]


def test_variables_of_other_programs_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASE", "0")
    monkeypatch.setenv("MAX_IMAGES", "-1")

    assert read(SharedSettings).limits.images == 64

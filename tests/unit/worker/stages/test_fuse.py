"""A text chooses among what a picture shows, and adds nothing to it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.models.vectors import unit
from worker.stages.fuse import Seen, attend, attention, average, cosines, shares, softmax


def one_hot(*places: int, size: int = 4) -> NDArray[np.float32]:
    return np.eye(size, dtype=np.float32)[list(places)]


#: Four cells that show things 0, 0, 1 and 2 of a vocabulary of four.
CELLS = Seen(one_hot(0, 0, 1, 2), one_hot(0, 0, 1, 2))


@pytest.mark.parametrize("thing", [0, 1, 2])
def test_attention_finds_the_cells_that_the_text_speaks_of(thing: int) -> None:
    seen = attend(one_hot(thing)[0], CELLS)

    assert seen.vectors.shape == (1, 4)
    assert seen.probabilities.argmax() == thing
    assert seen.vectors.argmax() == thing
    assert seen.probabilities.sum() == pytest.approx(1)


def test_a_text_about_something_absent_cannot_put_it_there() -> None:
    seen = attend(one_hot(3)[0], CELLS)

    assert seen.probabilities[0, 3] == 0
    assert seen.vectors[0, 3] == 0


def test_attention_is_shared_by_equal_cells() -> None:
    weights = attention(one_hot(0)[0], CELLS.vectors)

    assert weights[0] == weights[1]
    assert weights.sum() == pytest.approx(1)


def test_the_mean_hears_the_text_as_much_as_it_sees_the_picture() -> None:
    whole = Seen(one_hot(0), one_hot(0))

    seen = average(one_hot(3)[0], whole, vocabulary=one_hot(0, 1, 2, 3))

    np.testing.assert_allclose(seen.vectors, unit(one_hot(0) + one_hot(3)))
    np.testing.assert_allclose(seen.probabilities[0, [0, 3]], 0.5, atol=1e-3)


def test_shares_order_texts_by_cosine_and_sum_to_one() -> None:
    vectors = unit(np.array([[3, 2, 1, 0]], dtype=np.float32))

    found = shares(vectors, one_hot(3, 1, 0))

    assert found.dtype == np.float32
    assert list(np.argsort(-found[0])) == [2, 1, 0]
    assert found.sum() == pytest.approx(1)


def test_cosines_stay_within_their_bounds() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32))

    found = cosines(rows, rows)

    assert found.max() <= 1
    assert found.min() >= -1


def test_a_softmax_of_huge_values_is_finite() -> None:
    assert softmax(np.array([1e30, 0, -1e30], dtype=np.float32)).tolist() == [1, 0, 0]


def test_a_row_of_zeros_has_no_direction_and_stays() -> None:
    assert unit(np.zeros((1, 3), dtype=np.float32)).tolist() == [[0, 0, 0]]

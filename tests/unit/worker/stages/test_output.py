"""Rankings and encodings say exactly what was computed."""

from __future__ import annotations

import base64

import numpy as np

from worker.stages.output import encoded, ranking

VECTORS = np.array([[0.6, -0.8], [1.0, 0.0]], dtype=np.float32)


def test_a_ranking_is_best_first_and_no_longer_than_asked() -> None:
    scores = np.array([0.1, 0.6, 0.3], dtype=np.float32)

    assert [label for label, _ in ranking("abc", scores, 2)] == ["b", "c"]


def test_equals_keep_the_order_given() -> None:
    scores = np.array([0.25, 0.25, 0.25, 0.25], dtype=np.float32)

    assert [label for label, _ in ranking("cadb", scores, 9)] == list("cadb")


def test_a_share_never_passes_one() -> None:
    scores = np.array([np.nextafter(np.float32(1), np.float32(2))], dtype=np.float32)

    assert ranking(["a"], scores, 1) == [("a", 1.0)]


def test_floats_are_the_vectors_own() -> None:
    assert np.array_equal(np.array(encoded(VECTORS, "float"), dtype=np.float32), VECTORS)


def test_base64_is_little_endian_float32() -> None:
    rows = encoded(VECTORS, "base64")

    for row, vector in zip(rows, VECTORS, strict=True):
        assert isinstance(row, str)
        assert np.array_equal(np.frombuffer(base64.b64decode(row), dtype="<f4"), vector)


def test_no_vectors_are_no_rows() -> None:
    assert encoded(VECTORS[:0], "float") == encoded(VECTORS[:0], "base64") == []

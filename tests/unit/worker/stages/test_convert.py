"""Pictures become words, as far as the classifier believes in them."""

from __future__ import annotations

import numpy as np
import pytest

from worker.stages.convert import in_words

NAMES = ["espresso", "cup", "tripod"]


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        ([0.95, 0.03, 0.02], "a photo of an espresso"),
        ([0.02, 0.03, 0.95], "a photo of a tripod"),
        ([0.61, 0.39, 0.0], "a photo of an espresso, or of a cup"),
        ([0.5, 0.05, 0.01], "perhaps a photo of an espresso"),
        ([0.3, 0.02, 0.2], "perhaps a photo of an espresso, or of a tripod"),
        ([0.24, 0.23, 0.22], "a photo of something unknown"),
    ],
)
def test_the_surer_the_plainer(probabilities: list[float], words: str) -> None:
    assert in_words(np.array(probabilities, dtype=np.float32), NAMES) == words

"""No two inputs are alike, and pictures differ in nothing that costs a decoder anything."""

from __future__ import annotations

import io
from itertools import islice

from PIL import Image

from benchmarks import inputs


def test_pictures_are_all_different_files_of_one_size() -> None:
    files = [*inputs.taken(inputs.pictures("a"), 30), *inputs.taken(inputs.pictures("b"), 30)]

    assert len(set(files)) == 60
    for file in files[:12]:
        with Image.open(io.BytesIO(file)) as image:
            image.load()
            assert (image.format, image.size) == ("JPEG", (640, 480))


def test_only_the_comment_tells_two_pictures_of_one_photo_apart() -> None:
    [first] = inputs.taken(inputs.pictures("a"), 1)
    [second] = inputs.taken(inputs.pictures("b"), 1)

    with Image.open(io.BytesIO(first)) as one, Image.open(io.BytesIO(second)) as other:
        assert one.tobytes() == other.tobytes()


def test_captions_are_all_different_and_as_long_as_captions_are() -> None:
    texts = list(islice(inputs.captions(), 5_000))

    assert len(set(texts)) == 5_000
    assert 8 <= inputs.mean_words() <= 16

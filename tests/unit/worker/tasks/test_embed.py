"""`embed` answers with unit vectors of the space asked for."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from shared.schemas.embed import EmbedInput, EmbedResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.fake import COLOURS
from worker.tasks.embed import PIPELINE

RED, BLUE = ({"part": name} for name in ("red", "blue"))


@pytest.fixture
def work() -> DirectWork:
    return DirectWork(loaded("fake"), {name: png(plain(rgb)) for name, rgb in COLOURS.items()})


def embed(work: DirectWork, **fields: Any) -> EmbedResult:
    result: EmbedResult = run(PIPELINE, work, EmbedInput.model_validate(fields))
    return result


def test_images_and_texts_share_the_joint_space(work: DirectWork) -> None:
    result = embed(work, images=[RED, BLUE], texts=["a blue car", "a red car"])

    cosines = np.array(result.image_vectors) @ np.array(result.text_vectors).T
    assert cosines.argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("fields", "capability"),
    [
        ({"images": [RED], "texts": ["x"]}, "JointEncoder"),
        ({"texts": ["x", "y"], "space": "text"}, "TextEncoder"),
        ({"images": [RED, BLUE], "space": "image"}, "ImageEncoder"),
    ],
)
def test_every_vector_has_unit_length_and_the_dimension_told(
    work: DirectWork, fields: dict[str, Any], capability: str
) -> None:
    result = embed(work, **fields)

    assert result.dim == work.model(type(capability, (), {})).dim
    assert len(result.image_vectors) == len(fields.get("images", []))
    assert len(result.text_vectors) == len(fields.get("texts", []))
    for vector in (*result.image_vectors, *result.text_vectors):
        assert len(vector) == result.dim
        assert np.linalg.norm(np.array(vector, dtype=np.float32)) == pytest.approx(1, abs=1e-5)


def test_base64_and_floats_say_the_same(work: DirectWork) -> None:
    floats = embed(work, images=[RED], texts=["x"])
    coded = embed(work, images=[RED], texts=["x"], encoding="base64")

    for row, text in zip(
        (*floats.image_vectors, *floats.text_vectors),
        (*coded.image_vectors, *coded.text_vectors),
        strict=True,
    ):
        assert isinstance(text, str)
        assert np.frombuffer(base64.b64decode(text), dtype="<f4").tolist() == row


def test_a_space_asks_for_its_own_encoder_only(work: DirectWork) -> None:
    embed(work, texts=["x"], space="text")

    assert work.calls == ["TextEncoder.encode_texts"]

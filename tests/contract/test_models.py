"""What every model backend promises, whatever is behind it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from shared.errors import ModelFailed
from shared.schemas import catalogue
from tests.direct import loaded
from worker.media.views import View
from worker.models.capabilities import (
    CAPABILITIES,
    ImageEncoder,
    ImageFeatures,
    JointEncoder,
    Model,
    Pixels,
    Prepares,
    RegionFeatures,
    TextEncoder,
    Tuned,
    Vectors,
)

pytestmark = pytest.mark.parametrize("profile", ["fake", "starter"])

TEXTS = [
    "a red door",
    "x",
    "a long text about nothing in particular, " * 40,
    "",
    "Ein Kätzchen schläft, 猫が寝ている, 🐈",
    "a cup of coffee on a wooden table",
    "word " * 5000,
]
TOLERANCE = 1e-4
OPERATIONS = [
    "TextEncoder.encode_texts",
    "ImageEncoder.encode_images",
    "ImageEncoder.encode_regions",
    "JointEncoder.embed_texts",
    "JointEncoder.project_images",
    "JointEncoder.project_regions",
]


@pytest.fixture
def models(profile: str) -> dict[str, Any]:
    return dict(loaded(profile))


@pytest.fixture
def text_encoder(models: dict[str, Any]) -> TextEncoder:
    encoder: TextEncoder = models["TextEncoder"]
    return encoder


@pytest.fixture
def image_encoder(models: dict[str, Any]) -> ImageEncoder:
    encoder: ImageEncoder = models["ImageEncoder"]
    return encoder


@pytest.fixture
def joint_encoder(models: dict[str, Any]) -> JointEncoder:
    encoder: JointEncoder = models["JointEncoder"]
    return encoder


def pictures(view: View, count: int = 3) -> list[Pixels]:
    """Return pictures that differ: smooth colours with some noise on them."""
    random = np.random.default_rng(7)
    size = (view.height, view.width, 3)
    return [
        np.clip(random.integers(0, 256, 3) + random.normal(0, 20, size), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


def assert_unit_vectors(vectors: Sequence[Vectors], dim: int) -> None:
    for vector in vectors:
        assert vector.dtype == np.float32
        assert vector.shape[-1] == dim
        np.testing.assert_allclose(np.linalg.norm(vector, axis=-1), 1.0, atol=TOLERANCE)


def assert_alike(answers: Sequence[Any], others: Sequence[Any]) -> None:
    assert len(answers) == len(others)
    for answer, other in zip(answers, others, strict=True):
        for part, twin in zip(parts(answer), parts(other), strict=True):
            np.testing.assert_allclose(part, twin, atol=TOLERANCE)


def parts(answer: Any) -> list[Vectors]:
    """Return the arrays an answer consists of."""
    if isinstance(answer, ImageFeatures):
        return [answer.pooled, answer.probabilities]
    if isinstance(answer, RegionFeatures):
        return [answer.grid, answer.probabilities]
    return [answer]


def test_a_profile_serves_what_every_task_needs(models: dict[str, Any]) -> None:
    assert {need for task in catalogue().values() for need in task.needs} <= set(models)
    for name, model in models.items():
        assert isinstance(model, CAPABILITIES[name])


def test_a_model_says_who_it_is(models: dict[str, Model]) -> None:
    for model in models.values():
        card = model.card
        assert card.id
        assert card.revision
        assert card.licence
        assert card.device == "cpu"
        assert card.dtype == "float32"
        assert card.runtime in {"eager", "onnx", "numpy"}


def test_a_model_warms_up(models: dict[str, Model]) -> None:
    for model in models.values():
        model.warm_up()


def test_texts_become_unit_vectors(text_encoder: TextEncoder) -> None:
    vectors = text_encoder.encode_texts(TEXTS)

    assert len(vectors) == len(TEXTS)
    assert_unit_vectors(vectors, text_encoder.dim)


def test_texts_of_mixed_lengths_in_one_batch_answer_as_alone(text_encoder: TextEncoder) -> None:
    together = text_encoder.encode_texts(TEXTS)
    alone = [text_encoder.encode_texts([text])[0] for text in TEXTS]

    assert_alike(together, alone)


def test_texts_answer_in_their_order(text_encoder: TextEncoder) -> None:
    forward = text_encoder.encode_texts(TEXTS)
    backward = text_encoder.encode_texts(TEXTS[::-1])

    assert_alike(forward, backward[::-1])


def test_the_same_texts_answer_the_same(text_encoder: TextEncoder) -> None:
    first, second = (np.stack(text_encoder.encode_texts(TEXTS)) for _ in range(2))

    assert np.array_equal(first, second)


def test_whole_pictures_become_features(image_encoder: ImageEncoder) -> None:
    batch = pictures(image_encoder.view)

    answers = image_encoder.encode_images(batch)

    assert len(answers) == len(batch)
    for answer in answers:
        assert answer.pooled.dtype == answer.probabilities.dtype == np.float32
        assert answer.pooled.shape == (image_encoder.dim,)
        assert answer.probabilities.shape == (len(image_encoder.vocabulary),)
        assert answer.probabilities.sum() == pytest.approx(1, abs=TOLERANCE)


def test_cells_of_pictures_become_features(image_encoder: ImageEncoder) -> None:
    batch = pictures(image_encoder.region_view)

    answers = image_encoder.encode_regions(batch)

    assert len(answers) == len(batch)
    for answer in answers:
        assert answer.grid.dtype == answer.probabilities.dtype == np.float32
        assert answer.grid.shape[2] == image_encoder.dim
        assert answer.probabilities.shape == (*answer.grid.shape[:2], len(image_encoder.vocabulary))
        np.testing.assert_allclose(answer.probabilities.sum(axis=-1), 1, atol=TOLERANCE)


def test_regions_are_seen_in_the_whole_picture(image_encoder: ImageEncoder) -> None:
    assert image_encoder.region_view.fit == "stretch"


@pytest.mark.parametrize("operation", ["encode_images", "encode_regions"])
def test_pictures_in_one_batch_answer_as_alone_and_in_order(
    image_encoder: ImageEncoder, operation: str
) -> None:
    encode = getattr(image_encoder, operation)
    batch = pictures(image_encoder.view if operation == "encode_images" else image_encoder.region_view, 5)

    together = encode(batch)

    assert_alike(together, [encode([picture])[0] for picture in batch])
    assert_alike(together, encode(batch[::-1])[::-1])


def test_a_read_only_picture_is_taken(image_encoder: ImageEncoder) -> None:
    (picture,) = pictures(image_encoder.view, 1)
    picture.setflags(write=False)

    assert len(image_encoder.encode_images([picture])) == 1


def test_top_rows_of_a_grid_are_the_top_of_the_picture(image_encoder: ImageEncoder) -> None:
    view = image_encoder.region_view
    (busy,) = pictures(view, 1)
    busy[view.height // 2 :] = 0
    blank = np.zeros_like(busy)

    top, nothing = (answer.grid for answer in image_encoder.encode_regions([busy, blank]))

    change = np.abs(top - nothing).sum(axis=(1, 2))
    assert change[0] > 3 * change[-1]


def test_the_joint_space_takes_texts(joint_encoder: JointEncoder) -> None:
    vectors = joint_encoder.embed_texts(TEXTS)

    assert len(vectors) == len(TEXTS)
    assert_unit_vectors(vectors, joint_encoder.dim)
    assert_alike(vectors, [joint_encoder.embed_texts([text])[0] for text in TEXTS])


def test_the_joint_space_takes_whole_pictures(
    image_encoder: ImageEncoder, joint_encoder: JointEncoder
) -> None:
    features = image_encoder.encode_images(pictures(image_encoder.view))

    vectors = joint_encoder.project_images(features)

    assert len(vectors) == len(features)
    assert_unit_vectors(vectors, joint_encoder.dim)
    assert_alike(vectors, [joint_encoder.project_images([one])[0] for one in features])


def test_the_joint_space_takes_cells_row_by_row(
    image_encoder: ImageEncoder, joint_encoder: JointEncoder
) -> None:
    features = image_encoder.encode_regions(pictures(image_encoder.region_view))

    vectors = joint_encoder.project_regions(features)

    assert len(vectors) == len(features)
    assert_unit_vectors(vectors, joint_encoder.dim)
    for cells, one in zip(vectors, features, strict=True):
        rows, columns, _ = one.grid.shape
        assert len(cells) == rows * columns
        second_row_first = ImageFeatures(pooled=one.grid[1, 0], probabilities=one.probabilities[1, 0])
        assert_alike([cells[columns]], joint_encoder.project_images([second_row_first]))


def test_the_joint_space_holds_the_vocabulary(
    image_encoder: ImageEncoder, joint_encoder: JointEncoder
) -> None:
    vectors = joint_encoder.vocabulary_vectors

    assert len(vectors) == len(image_encoder.vocabulary)
    assert_unit_vectors(vectors, joint_encoder.dim)


@pytest.mark.parametrize("operation", ["TextEncoder.encode_texts", "JointEncoder.embed_texts"])
def test_prepared_texts_answer_as_they_are(models: dict[str, Any], operation: str) -> None:
    capability, name = operation.split(".")
    model = models[capability]
    if not isinstance(model, Prepares):
        return
    prepared = model.prepare(name, TEXTS)

    assert len(prepared) == len(TEXTS)
    assert_alike(getattr(model, name)(prepared), getattr(model, name)(TEXTS))
    assert list(model.prepare(name, [])) == []


def test_what_needs_no_preparing_is_returned_as_it_is(models: dict[str, Any]) -> None:
    items = [object()]
    for model in models.values():
        if isinstance(model, Prepares):
            assert model.prepare("project_images", items) is items


def test_texts_are_prepared_by_any_number_of_threads(models: dict[str, Any]) -> None:
    for capability, name in (("TextEncoder", "encode_texts"), ("JointEncoder", "embed_texts")):
        model = models[capability]
        if not isinstance(model, Prepares):
            continue
        batches = [[f"{text[:3000]} {index}", text[:300]] for index, text in enumerate(TEXTS * 12)]
        with ThreadPoolExecutor(16) as threads:
            prepared = list(threads.map(functools.partial(model.prepare, name), batches))

        lengths = [[len(item) for item in model.prepare(name, batch)] for batch in batches]
        assert [[len(item) for item in batch] for batch in prepared] == lengths
        assert_alike(getattr(model, name)(prepared[-1]), getattr(model, name)(batches[-1]))


def test_a_best_batch_size_belongs_to_an_operation(models: dict[str, Any]) -> None:
    for model in models.values():
        if isinstance(model, Tuned):
            for name, size in model.batch_limits.items():
                assert callable(getattr(model, name))
                assert 1 <= size <= 256


@pytest.mark.parametrize("operation", OPERATIONS)
def test_of_nothing_comes_nothing(models: dict[str, Any], operation: str) -> None:
    capability, name = operation.split(".")

    assert list(getattr(models[capability], name)([])) == []


def test_no_answer_in_the_joint_space_is_not_a_number(
    joint_encoder: JointEncoder, models: dict[str, Any]
) -> None:
    """A NaN would win no comparison and lose none: whoever asked must hear of it."""
    encoder = models["ImageEncoder"]
    (features,) = encoder.encode_images(pictures(encoder.view, 1))
    broken = dataclasses.replace(
        features,
        pooled=np.full_like(features.pooled, np.nan),
        probabilities=np.full_like(features.probabilities, np.nan),
    )

    with pytest.raises(ModelFailed, match="not finite"):
        joint_encoder.project_images([features, broken])

"""What every model promises that puts pictures into words and boxes, or makes pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.direct import loaded
from worker.media.views import View
from worker.models.capabilities import (
    Canvas,
    CaptionRequest,
    DetectionRequest,
    ExplanationRequest,
    GenerationRequest,
    Pixels,
    Question,
    StyleRequest,
)

pytestmark = pytest.mark.parametrize("profile", ["fake", "starter"])

TOLERANCE = 1e-4
#: In levels of 255: a batch may round otherwise than one picture alone.
LEVELS = 2
SIDE = 64


def pictures(view: View, count: int = 3) -> list[Pixels]:
    """Return pictures that differ: one colour on the left, another on the right."""
    random = np.random.default_rng(7)
    made = []
    for _ in range(count):
        picture = np.empty((view.height, view.width, 3), np.uint8)
        picture[:, : view.width // 2], picture[:, view.width // 2 :] = random.integers(0, 256, (2, 3))
        made.append(picture)
    return made


def assert_share(score: float) -> None:
    assert 0.0 <= score <= 1.0


def assert_in_order(scores: Sequence[float]) -> None:
    assert list(scores) == sorted(scores, reverse=True)


@pytest.fixture
def models(profile: str) -> dict[str, Any]:
    return dict(loaded(profile))


def test_a_caption_begins_as_it_is_asked_to_and_is_the_same_in_a_batch(models: dict[str, Any]) -> None:
    captioner = models["Captioner"]
    requests = [
        CaptionRequest(picture, prompt, most)
        for picture, prompt, most in zip(
            pictures(captioner.view), (None, "we see", None), (40, 40, 2), strict=True
        )
    ]

    together = captioner.caption(requests)

    assert [caption.text for caption in together] == [captioner.caption([one])[0].text for one in requests]
    assert all(caption.text.strip() for caption in together)
    assert together[1].text.startswith("we see")
    for caption in together:
        for label, score in caption.evidence:
            assert label
            assert_share(score)


def test_answers_are_ranked_and_candidates_are_all_of_them(models: dict[str, Any]) -> None:
    answerer = models["Answerer"]
    candidates = ("red", "blue", "a cat")
    questions = [
        Question(picture, "what colour is it?", given)
        for picture, given in zip(pictures(answerer.view), ((), candidates, candidates[:2]), strict=True)
    ]

    together = answerer.answer(questions)

    for question, answers in zip(questions, together, strict=True):
        assert answers
        for _, confidence in answers:
            assert_share(confidence)
        if question.candidates:
            assert {answer for answer, _ in answers} == set(question.candidates)
            assert_in_order([confidence for _, confidence in answers])
        [alone] = answerer.answer([question])
        assert [answer for answer, _ in alone] == [answer for answer, _ in answers]


@pytest.mark.parametrize("capability", ["Detector.detect", "OpenDetector.find"])
def test_objects_have_boxes_inside_the_picture(models: dict[str, Any], capability: str) -> None:
    name, operation = capability.split(".")
    detector = models[name]
    labels = ("cat", "red car") if name == "OpenDetector" else ()
    requests = [DetectionRequest(picture, labels, 0.0, 3) for picture in pictures(detector.view)]

    together = getattr(detector, operation)(requests)

    for found in together:
        assert len(found) <= 3
        assert_in_order([one.score for one in found])
        for one in found:
            left, top, right, bottom = one.box
            assert 0.0 <= left < right <= 1.0
            assert 0.0 <= top < bottom <= 1.0
            assert_share(one.score)
            assert one.label in (labels or detector.vocabulary)
    alone = [getattr(detector, operation)([one])[0] for one in requests]
    for found, other in zip(together, alone, strict=True):
        assert [one.label for one in found] == [one.label for one in other]
        np.testing.assert_allclose([one.box for one in found], [one.box for one in other], atol=TOLERANCE)


def test_nothing_scores_above_one(models: dict[str, Any]) -> None:
    detector = models["OpenDetector"]
    requests = [DetectionRequest(picture, ("cat",), 1.0, 3) for picture in pictures(detector.view)]

    for found in detector.find(requests):
        assert all(one.score == 1.0 for one in found)


def test_an_explanation_covers_the_picture_and_weighs_every_word(models: dict[str, Any]) -> None:
    explainer = models["Explainer"]
    texts = ["a red door", "blue", "猫が 寝ている"]
    requests = [
        ExplanationRequest(picture, text)
        for picture, text in zip(pictures(explainer.view), texts, strict=True)
    ]

    together = explainer.explain(requests)

    assert explainer.view.fit in ("stretch", "inside")
    for request, one in zip(requests, together, strict=True):
        assert -1.0 <= one.score <= 1.0
        assert one.heat.dtype == np.float32
        assert one.heat.ndim == 2
        assert one.heat.min() >= 0.0
        assert one.heat.max() == pytest.approx(1.0) or not one.heat.any()
        assert "".join(token for token, _ in one.tokens) == "".join(request.text.split())
        [alone] = explainer.explain([request])
        np.testing.assert_allclose(alone.heat, one.heat, atol=10 * TOLERANCE)
        assert alone.score == pytest.approx(one.score, abs=TOLERANCE)


def painted(painter: Any, requests: Sequence[Any]) -> tuple[list[Pixels], list[int]]:
    """Return what comes of the requests, worked on together, and how many steps each took."""
    canvases: list[Canvas] = painter.begin(requests)
    counts = [0] * len(requests)
    while open_ones := [place for place, one in enumerate(canvases) if one.step < one.steps]:
        further = painter.advance([canvases[place] for place in open_ones])
        for place, canvas in zip(open_ones, further, strict=True):
            assert canvas.step == canvases[place].step + 1 if counts[place] == 0 else canvas.step > 0
            canvases[place] = canvas
            counts[place] += 1
    assert [one.steps for one in canvases] == counts
    return painter.render(canvases), counts


def near(one: Pixels, other: Pixels) -> bool:
    return bool(np.abs(one.astype(int) - other.astype(int)).mean() <= LEVELS)


def test_a_picture_painted_beside_others_is_the_one_painted_alone(models: dict[str, Any]) -> None:
    stylizer = models["Stylizer"]
    images = [picture[:SIDE, :SIDE] for picture in pictures(stylizer.view, 2)]
    style = stylizer.styles[0]
    requests = [StyleRequest(image, style, None, 1.0, 2) for image in images]

    together, _ = painted(stylizer, requests)

    for image, request, made in zip(images, requests, together, strict=True):
        assert made.shape == image.shape
        assert made.dtype == np.uint8
        assert near(made, painted(stylizer, [request])[0][0])
        assert not near(made, image)


def test_any_picture_is_a_style(models: dict[str, Any]) -> None:
    stylizer = models["Stylizer"]
    [image] = (picture[:SIDE, :SIDE] for picture in pictures(stylizer.view, 1))
    first, second = pictures(stylizer.style_view, 2)

    made, _ = painted(
        stylizer, [StyleRequest(image, None, style, 1.0, 2) for style in (first, second, first)]
    )

    assert near(made[0], made[2])
    assert not np.array_equal(made[0], made[1])


def test_a_generated_picture_depends_on_its_seed_and_on_nothing_beside_it(models: dict[str, Any]) -> None:
    generator = models["Generator"]
    requests = [GenerationRequest("a red door", SIDE, SIDE, 2, seed, None, 1.0) for seed in (1, 2, 1)]

    made, counts = painted(generator, requests)

    assert counts == [2, 2, 2]
    assert made[0].shape == (SIDE, SIDE, 3)
    assert near(made[0], made[2])
    assert not near(made[0], made[1])
    assert near(made[0], painted(generator, requests[:1])[0][0])
    assert np.array_equal(painted(generator, requests[:1])[0][0], painted(generator, requests[:1])[0][0])


def test_a_picture_to_start_from_shows_through(models: dict[str, Any]) -> None:
    generator = models["Generator"]
    start = np.full((SIDE, SIDE, 3), (200, 40, 40), np.uint8)

    [made], _ = painted(generator, [GenerationRequest("a door", SIDE, SIDE, 2, 1, start, 0.1)])

    mean = made.reshape(-1, 3).mean(axis=0)
    assert mean[0] > mean[1] + 40
    assert mean[0] > mean[2] + 40
    width, height = generator.size
    assert max(width, height) <= generator.largest


@pytest.mark.parametrize(
    "operation",
    ["Captioner.caption", "Answerer.answer", "Detector.detect", "OpenDetector.find", "Explainer.explain"],
)
def test_of_nothing_comes_nothing(models: dict[str, Any], operation: str) -> None:
    capability, name = operation.split(".")

    assert list(getattr(models[capability], name)([])) == []

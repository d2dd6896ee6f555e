"""A caption says what the evidence holds, and nothing besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import BadConfiguration
from shared.settings import Limits
from tests.direct import loaded, plain
from worker.media.images import decode
from worker.models import grounded_captioner
from worker.models.capabilities import Caption, Captioner, CaptionRequest, ModelCard, Pixels
from worker.models.grounded_captioner import GroundedCaptioner
from worker.models.runtimes.network import Place
from worker.models.sources import Source

PHOTOS = Path(__file__).parents[4] / "client" / "demo" / "photos"
CARD = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def captioner() -> GroundedCaptioner:
    encoder: Any = loaded("starter")["ImageEncoder"]
    return GroundedCaptioner(CARD, encoder)


def photo(captioner: Captioner, name: str) -> Pixels:
    return np.asarray(decode((PHOTOS / name).read_bytes(), captioner.view, Limits()))


def caption(
    captioner: Captioner, pixels: Pixels | str, prompt: str | None = None, max_tokens: int = 40
) -> Caption:
    image = photo(captioner, pixels) if isinstance(pixels, str) else pixels
    (found,) = captioner.caption([CaptionRequest(image, prompt, max_tokens)])
    return found


def noise() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (320, 480, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dog.jpg", "a picture of a German shepherd, mostly brown and black"),
        ("cat.jpg", "a picture of a cat, mostly brown, filling most of the picture"),
        ("raccoon.jpg", "a picture of an animal, mostly grey and white"),
        ("colosseum.jpg", "a picture of a building, mostly beige"),
        ("photographer.jpg", "a black-and-white picture of a tripod"),
        ("rocket.jpg", "a picture of what may be a rocket"),
        ("astronaut.jpg", "a picture of something unknown"),
        ("windmill.jpg", "a picture of something unknown, the whole mostly blue"),
    ],
)
def test_a_photo_is_told_as_far_as_it_is_known(captioner: Captioner, name: str, text: str) -> None:
    assert caption(captioner, name).text.startswith(text)


def test_what_is_told_is_in_the_evidence(captioner: Captioner) -> None:
    found = caption(captioner, "cat.jpg")
    labels = dict(found.evidence)

    assert labels["cat"] > 0.9
    assert labels["brown"] > 0.5
    assert "filling most of the picture" in labels
    assert all(0.0 <= score <= 1.0 for score in labels.values())
    assert [score for _, score in found.evidence] == sorted(labels.values(), reverse=True)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("This picture shows", "This picture shows a German shepherd, mostly brown and black"),
        ("A photo of an", "A photo of a German shepherd, mostly brown and black"),
        ("In the field:", "In the field: a German shepherd, mostly brown and black"),
        ("Rex", "Rex: a German shepherd, mostly brown and black"),
        ("two cats sitting on", "two cats sitting on: a German shepherd, mostly brown and black"),
        ("  spaced \n out ", "spaced out: a German shepherd"),
        ("A", "A German shepherd"),
        ("\u00a0", "a picture of a German shepherd"),
    ],
)
def test_a_sentence_goes_on_from_its_prompt(captioner: Captioner, prompt: str, text: str) -> None:
    assert caption(captioner, "dog.jpg", prompt).text.startswith(text)


@pytest.mark.parametrize("most", range(1, 20))
def test_a_sentence_ends_at_a_part_that_is_whole(captioner: Captioner, most: int) -> None:
    text = caption(captioner, "dog.jpg", max_tokens=most).text

    assert 1 <= len(text.split()) <= most
    assert text.split()[-1] not in ("a", "an", "and", "of", "mostly", "the", "in", "German", "at")
    assert not text.endswith(",")
    assert "German" not in text or "German shepherd" in text


def test_a_prompt_is_kept_whole_however_few_words_are_wanted(captioner: Captioner) -> None:
    assert caption(captioner, "dog.jpg", "This picture here shows", 2).text == "This picture here shows"


@pytest.mark.parametrize(
    ("pixels", "colour"),
    [
        (plain((200, 20, 20), 640, 400), "red"),
        (plain((20, 20, 200), 1, 1), "blue"),
        (plain((90, 90, 90), 300, 2), ""),
        (noise(), ""),
    ],
    ids=["one colour", "1 x 1", "grey", "noise"],
)
def test_where_nothing_is_to_be_seen_nothing_is_invented(
    captioner: Captioner, pixels: Pixels, colour: str
) -> None:
    found = caption(captioner, pixels)

    assert "something unknown" in found.text or "may be" in found.text
    assert colour in found.text
    assert all(np.isfinite(score) for _, score in found.evidence)


def test_grey_pictures_have_no_colours(captioner: Captioner) -> None:
    grey = np.repeat(photo(captioner, "cat.jpg").mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)

    text = caption(captioner, grey).text

    assert text.startswith("a black-and-white picture of")
    assert "mostly" not in text


def test_a_caption_is_the_same_alone_and_among_others(captioner: Captioner) -> None:
    requests = [
        CaptionRequest(photo(captioner, name), None, 40) for name in ("dog.jpg", "raccoon.jpg", "cat.jpg")
    ]

    together = captioner.caption(requests)

    for request, found in zip(requests, together, strict=True):
        (alone,) = captioner.caption([request])
        assert alone.text == found.text
        assert dict(alone.evidence) == pytest.approx(dict(found.evidence), abs=1e-4)


def test_it_batches_as_the_encoder_below_does(captioner: GroundedCaptioner) -> None:
    encoder: Any = loaded("starter")["ImageEncoder"]

    assert captioner.batch_limits == {"caption": encoder.batch_limits["encode_regions"]}


def test_it_is_built_over_an_image_encoder(tmp_path: Path) -> None:
    place = Place(device="cpu", threads=1, cache_dir=tmp_path)
    source = Source(capability="Captioner", card=CARD, weights=None, over={}, place=place)

    with pytest.raises(BadConfiguration, match="ImageEncoder"):
        grounded_captioner.load(source)


def test_the_starter_profile_has_it() -> None:
    model = loaded("starter")["Captioner"]

    assert isinstance(model, Captioner)
    assert model.card.grade == "starter"
    assert model.card.runtime == "numpy"

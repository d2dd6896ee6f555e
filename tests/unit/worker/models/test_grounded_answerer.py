"""An answer rests on evidence; without any it is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import BadConfiguration
from shared.settings import Limits
from tests.direct import loaded, plain
from worker.media.images import decode
from worker.models import grounded_answerer
from worker.models.capabilities import UNKNOWN, Answerer, ModelCard, Pixels, Question, Scored
from worker.models.grounded_answerer import GroundedAnswerer
from worker.models.runtimes.network import Place
from worker.models.sources import Source

PHOTOS = Path(__file__).parents[4] / "client" / "demo" / "photos"
CARD = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def answerer() -> GroundedAnswerer:
    models: Any = loaded("starter")
    return GroundedAnswerer(CARD, models["ImageEncoder"], models["JointEncoder"])


def photo(answerer: Answerer, name: str) -> Pixels:
    return np.asarray(decode((PHOTOS / name).read_bytes(), answerer.view, Limits()))


def answers(answerer: Answerer, picture: str | Pixels, text: str, *candidates: str) -> Sequence[Scored]:
    image = photo(answerer, picture) if isinstance(picture, str) else picture
    (found,) = answerer.answer([Question(image, text, candidates)])
    return found


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("dog.jpg", "What is this?", "German shepherd"),
        ("raccoon.jpg", "What is in the picture?", "animal"),
        ("cat.jpg", "what animal is it", "cat"),
        ("dog.jpg", "Is there a dog?", "yes"),
        ("dog.jpg", "Is this a car?", "no"),
        ("dog.jpg", "Is there a car on the grass?", "no"),
        ("dog.jpg", "Is there a big elephant?", "no"),
        ("dog.jpg", "Is the dog brown?", "yes"),
        ("dog.jpg", "Is the dog purple?", "no"),
        ("macaw.jpg", "What colour is the parrot?", "red"),
        ("windmill.jpg", "What colour is the sky?", "blue"),
        ("dog.jpg", "How many dogs are there?", "1"),
        ("dog.jpg", "How many elephants do you see?", "0"),
        ("astronaut.jpg", "Where is the space shuttle?", "top right"),
    ],
)
def test_what_the_evidence_holds_is_answered(
    answerer: Answerer, name: str, question: str, answer: str
) -> None:
    found = answers(answerer, name, question)

    assert found[0][0] == answer
    assert 0.6 <= found[0][1] <= 1.0


@pytest.mark.parametrize(
    ("name", "question"),
    [
        # Not in the classes' power: people, parts, relations, moods.
        ("photographer.jpg", "Where is the man?"),
        ("astronaut.jpg", "Is there a person?"),
        ("cat.jpg", "What colour are the cat's eyes?"),
        ("dog.jpg", "What is the dog standing on?"),
        ("dog.jpg", "What is in front of the dog?"),
        ("dog.jpg", "Is there a dog on the sofa?"),
        ("dog.jpg", "Is there a small dog?"),
        # About as black as it is brown.
        ("dog.jpg", "What colour is the dog?"),
        ("dog.jpg", "Why is the dog there?"),
        ("raccoon.jpg", "What fish is this?"),
        ("windmill.jpg", "What is this?"),
        ("coffee.jpg", "Is there a spoon?"),
        ("rocket.jpg", "What colour is the rocket?"),
        ("photographer.jpg", "What colour is the tripod?"),
        ("dog.jpg", "Qu'est-ce que c'est ?"),
        ("dog.jpg", "这是什么动物?"),
        ("dog.jpg", "\x00\x01\x02"),
        ("dog.jpg", "what " * 800),
        ("dog.jpg", "is there a " + "b" * 4000),
    ],
)
def test_what_it_does_not_hold_is_unknown(answerer: Answerer, name: str, question: str) -> None:
    found = answers(answerer, name, question)

    assert found[0][0] == UNKNOWN
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert all(0.0 <= score <= 1.0 for _, score in found)


def test_behind_unknown_stands_what_it_might_be(answerer: Answerer) -> None:
    found = dict(answers(answerer, "raccoon.jpg", "What animal is this?"))

    assert next(iter(found)) == UNKNOWN
    assert "badger" in found


def test_candidates_are_all_ranked_and_nothing_else(answerer: Answerer) -> None:
    given = ("orange juice", "espresso", "red wine", "milk")

    found = answers(answerer, "coffee.jpg", "What is there to drink?", *given)

    assert found[0][0] == "espresso"
    assert sorted(answer for answer, _ in found) == sorted(given)
    assert sum(score for _, score in found) == pytest.approx(1.0, abs=1e-5)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@pytest.mark.parametrize(
    ("question", "candidates", "answer"),
    [
        ("Is there a dog?", ("no", "Yes."), "Yes."),
        ("Where is the dog?", ("at the top", "Middle", "left"), "Middle"),
        ("How many dogs are there?", ("2", "1", "3"), "1"),
    ],
)
def test_candidates_that_the_evidence_knows_are_ranked_by_it(
    answerer: Answerer, question: str, candidates: tuple[str, ...], answer: str
) -> None:
    assert answers(answerer, "dog.jpg", question, *candidates)[0][0] == answer


def test_candidates_that_repeat_share_alike(answerer: Answerer) -> None:
    found = answers(answerer, "dog.jpg", "What?", "a dog", "a dog", "a cat", "a dog")

    assert [answer for answer, _ in found] == ["a dog", "a dog", "a dog", "a cat"]
    assert found[0][1] == pytest.approx(found[2][1])


@pytest.mark.parametrize("candidates", [("x",), ("\x00", "кошка", "🐈"), ("b" * 4096, "a dog")])
def test_any_candidates_are_ranked(answerer: Answerer, candidates: tuple[str, ...]) -> None:
    found = answers(answerer, "dog.jpg", "???", *candidates)

    assert sum(score for _, score in found) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "pixels",
    [
        plain((200, 20, 20), 1, 1),
        plain((90, 90, 90), 640, 3),
        np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8),
    ],
    ids=["1 x 1", "grey", "noise"],
)
@pytest.mark.parametrize(
    "question",
    [
        "What is this?",
        "Is there a dog?",
        "How many cats are there?",
        "Where is the cat?",
        "What colour is the cat?",
    ],
)
def test_where_nothing_is_to_be_seen_nothing_is_found(
    answerer: Answerer, pixels: Pixels, question: str
) -> None:
    found = answers(answerer, pixels, question)

    assert found[0][0] in (UNKNOWN, "no", "0")
    assert all(np.isfinite(score) for _, score in found)


def test_the_colour_of_a_picture_can_be_asked(answerer: Answerer) -> None:
    assert answers(answerer, plain((20, 40, 200)), "What colour is it?")[0][0] == "blue"


def test_an_answer_is_the_same_alone_and_among_others(answerer: Answerer) -> None:
    questions = [
        Question(photo(answerer, "dog.jpg"), "What is this?", ()),
        Question(photo(answerer, "macaw.jpg"), "What colour is the parrot?", ()),
        Question(photo(answerer, "coffee.jpg"), "What?", ("tea", "coffee")),
    ]

    together = answerer.answer(questions)

    for question, found in zip(questions, together, strict=True):
        (alone,) = answerer.answer([question])
        assert [answer for answer, _ in alone] == [answer for answer, _ in found]
        assert [score for _, score in alone] == pytest.approx([score for _, score in found], abs=1e-4)


def test_it_batches_as_the_encoder_below_does(answerer: GroundedAnswerer) -> None:
    encoder: Any = loaded("starter")["ImageEncoder"]

    assert answerer.batch_limits == {"answer": encoder.batch_limits["encode_regions"]}


def test_it_is_built_over_both_encoders(tmp_path: Path) -> None:
    place = Place(device="cpu", threads=1, cache_dir=tmp_path)
    over = {"ImageEncoder": loaded("starter")["ImageEncoder"]}
    source = Source(capability="Answerer", card=CARD, weights=None, over=over, place=place)

    with pytest.raises(BadConfiguration, match="JointEncoder"):
        grounded_answerer.load(source)


def test_the_starter_profile_has_it() -> None:
    model = loaded("starter")["Answerer"]

    assert isinstance(model, Answerer)
    assert model.card.grade == "starter"

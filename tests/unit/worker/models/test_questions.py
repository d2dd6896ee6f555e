"""A question is understood by its words, or not at all."""

from __future__ import annotations

import pytest

from worker.models.questions import Asked, Sort, understood


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("What is this?", Asked(Sort.WHAT)),
        ("what's that", Asked(Sort.WHAT)),
        ("What do you see in the picture?", Asked(Sort.WHAT)),
        ("What is in the photo?", Asked(Sort.WHAT)),
        ("What animal is this?", Asked(Sort.WHAT, "animal")),
        ("Which kind of bird is it?", Asked(Sort.WHAT, "bird")),
        ("What is on the table?", Asked(Sort.WHAT, more="on the table")),
        ("What fruit is on the plate?", Asked(Sort.WHAT, "fruit", more="on the plate")),
        ("Is there a cat?", Asked(Sort.PRESENT, "cat")),
        ("IS THERE A CAT IN THE PICTURE", Asked(Sort.PRESENT, "cat")),
        ("Are there any birds here?", Asked(Sort.PRESENT, "birds")),
        ("Can you see a space shuttle?", Asked(Sort.PRESENT, "space shuttle")),
        ("Does the photo show a dog?", Asked(Sort.PRESENT, "dog")),
        ("Is there a cat under the table?", Asked(Sort.PRESENT, "cat", more="under the table")),
        ("Is this a dog?", Asked(Sort.IS_THIS, "dog")),
        ("Is it a picture of a German shepherd?", Asked(Sort.IS_THIS, "german shepherd")),
        ("Is the cat black?", Asked(Sort.HAS_COLOUR, "cat", colour="black")),
        ("Is the sky gray?", Asked(Sort.HAS_COLOUR, "sky", colour="grey")),
        ("What colour is the parrot?", Asked(Sort.COLOUR, "parrot")),
        ("what color are the leaves", Asked(Sort.COLOUR, "leaves")),
        ("What is the colour of the car in the photo?", Asked(Sort.COLOUR, "car")),
        ("How many dogs are there?", Asked(Sort.COUNT, "dogs")),
        ("How many birds can you see in this image?", Asked(Sort.COUNT, "birds")),
        ("How many people are on the stage?", Asked(Sort.COUNT, "people", more="are on the stage")),
        ("Where is the cat?", Asked(Sort.PLACE, "cat")),
        ("  \u200bWHERE\tis the cat ???", Asked(Sort.PLACE, "cat")),
    ],
)
def test_a_question_of_a_known_form_is_understood(question: str, asked: Asked) -> None:
    assert understood(question) == asked


@pytest.mark.parametrize(
    "question",
    [
        "",
        "???",
        "\x00\x07\x1b",
        "Hello!",
        "Why is the cat sad?",
        "What is the man doing?",
        "Who is this?",
        "Is the cat asleep?",
        "Is there no cat?",
        "Isn't there a cat?",
        "Where is he looking?",
        "What colour is the cat behind the dog?",
        "Où est le chat ?",
        "где кошка?",
        "这是什么?",
        "is there a кошка?",
        "what " * 800,
        "a" * 4096,
        "is there a " + "b" * 4000,
        "how many " * 400,
    ],
)
def test_what_is_not_understood_for_certain_is_not_guessed_at(question: str) -> None:
    asked = understood(question)

    assert asked.sort is Sort.OTHER or len(asked.thing) > 3000


def test_no_question_of_any_length_takes_long_to_read() -> None:
    """Regular expressions that backtrack would; the words of a form are few."""
    for word in ("is", "what kind of", "in the picture", "there", "a", "how many"):
        understood(f"{word} " * (4096 // (len(word) + 1)))
    for count in range(1, 25):
        understood("what " + "in the picture " * (count // 3) + "is " * (count % 3))

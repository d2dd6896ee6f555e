"""What every task's schema keeps to, and the values that schemas share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field, ValidationError

from shared import schemas
from shared.schemas import catalogue
from shared.schemas.base import FileRef, ImageRef, TaskInput, TaskSchema, Text, check_limits, walk
from shared.settings import Limits

SHA256 = "a" * 64


class Scrapbook(TaskInput):
    """An input with pictures and texts at every depth."""

    cover: ImageRef
    pages: list[ImageRef] = Field(default_factory=list)
    captions: list[Text] = Field(default_factory=list)
    notes: dict[str, Text] = Field(default_factory=dict)
    binding: str = "glue"


def scrapbook(**parts: Any) -> Scrapbook:
    return Scrapbook.model_validate({"cover": {"file": SHA256}, **parts})


@pytest.fixture(params=sorted(catalogue()))
def schema(request: pytest.FixtureRequest) -> TaskSchema:
    found: TaskSchema = catalogue()[request.param]
    return found


def test_a_task_is_a_file_in_the_folder() -> None:
    files = {path.stem for path in Path(schemas.__path__[0]).glob("*.py")}

    assert list(catalogue()) == sorted(files - {"__init__", "base"})


def test_the_example_is_a_valid_input(schema: TaskSchema) -> None:
    schema.input.model_validate(dict(schema.example))


def test_the_examples_files_are_parts(schema: TaskSchema) -> None:
    example = schema.input.model_validate(dict(schema.example))

    refs = [value for _, value in walk(example) if isinstance(value, FileRef)]
    assert refs or schema.needs == ("Generator",)
    assert all(ref.part for ref in refs)


def test_the_examples_size_is_within_the_default_limits(schema: TaskSchema) -> None:
    assert check_limits(schema.input.model_validate(dict(schema.example)), Limits.model_construct()) == []


def test_the_summary_is_one_sentence(schema: TaskSchema) -> None:
    assert schema.summary.endswith(".")
    assert "\n" not in schema.summary


def test_the_schemas_are_json_schemas(schema: TaskSchema) -> None:
    for model in (schema.input, schema.result):
        Draft202012Validator.check_schema(model.model_json_schema())


def test_an_unknown_field_is_refused(schema: TaskSchema) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        schema.input.model_validate({**schema.example, "colour": "red"})


@pytest.mark.parametrize("name", ["model", "model_id", "checkpoint", "revision", "weights", "backend"])
def test_no_caller_names_a_model(schema: TaskSchema, name: str) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        schema.input.model_validate({**schema.example, name: "gpt2"})


def test_an_input_stored_as_json_reads_back_equal(schema: TaskSchema) -> None:
    given = schema.input.model_validate(dict(schema.example))

    stored = json.loads(given.model_dump_json())

    assert schema.input.model_validate(stored) == given


@pytest.mark.parametrize("way", ["file", "data", "part", "url"])
def test_a_picture_is_named_in_any_one_way(way: str) -> None:
    ref = ImageRef.model_validate({way: SHA256})

    assert getattr(ref, way) == SHA256


@pytest.mark.parametrize(
    "ref",
    [
        {},
        {"file": SHA256, "part": "photo"},
        {"data": "aGk=", "url": "https://example.org/a.png"},
        {"file": None},
    ],
)
def test_a_picture_named_in_no_way_or_in_two_is_refused(ref: dict[str, str | None]) -> None:
    with pytest.raises(ValidationError, match="exactly one of file, data, part, url"):
        ImageRef.model_validate(ref)


@pytest.mark.parametrize("file", ["", "a" * 63, "a" * 65, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_a_file_id_is_64_lower_case_hex_digits(file: str) -> None:
    with pytest.raises(ValidationError):
        ImageRef(file=file)


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u3000"])
def test_a_blank_text_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        scrapbook(captions=[text])


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValidationError):
        scrapbook(captions=["\ud800"])


def test_walk_finds_pictures_whole_and_every_other_leaf() -> None:
    found = dict(walk(scrapbook(captions=["one", "two"], notes={"left": "three"})))

    assert found == {
        ("cover",): ImageRef(file=SHA256),
        ("captions", 0): "one",
        ("captions", 1): "two",
        ("notes", "left"): "three",
        ("binding",): "glue",
    }


def test_an_input_at_its_limits_is_accepted() -> None:
    book = scrapbook(pages=[{"file": SHA256}] * 2, captions=["four"], notes={"left": "five5"})

    assert check_limits(book, Limits(images=3, texts=2, text_chars=5)) == []


def test_one_image_above_the_limit_is_a_fault_of_the_whole_input() -> None:
    book = scrapbook(pages=[{"file": SHA256}] * 3)

    assert check_limits(book, Limits(images=3)) == [((), "4 images in one job; the limit is 3")]


def test_one_text_above_the_limit_is_a_fault_of_the_whole_input() -> None:
    book = scrapbook(captions=["a"] * 2, notes={"left": "b"})

    assert check_limits(book, Limits(texts=2)) == [((), "3 texts in one job; the limit is 2")]


def test_each_long_text_is_named_by_its_place() -> None:
    book = scrapbook(captions=["short", "much too long"], notes={"left": "longer"})

    assert check_limits(book, Limits(text_chars=5)) == [
        (("captions", 1), "text of 13 characters; the limit is 5"),
        (("notes", "left"), "text of 6 characters; the limit is 5"),
    ]


def test_characters_are_code_points() -> None:
    assert (
        check_limits(scrapbook(captions=["\N{SMILING FACE WITH SUNGLASSES}" * 5]), Limits(text_chars=5)) == []
    )


def test_only_what_a_person_wrote_counts_as_text() -> None:
    book = scrapbook(cover={"data": "aGVsbG8gd29ybGQ="}, binding="saddle stitching")

    assert check_limits(book, Limits(texts=1, text_chars=1)) == []

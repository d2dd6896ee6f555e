"""Pictures, texts and settings find their places by the schema alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.errors import RequestRefused
from client.inputs import Places, parse_settings
from client.models import File, Task
from tests.unit.client.fake_service import CATALOGUE

TASKS = {entry["name"]: Task.model_validate(entry) for entry in CATALOGUE}


def _ref(kind: str) -> dict[str, Any]:
    names: dict[str, Any] = {name: {"type": "string"} for name in ("file", "data", "part")}
    return {"type": "object", "properties": {**names, "kind": {"const": kind}}}


_STYLE = {"name": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "image": {"$ref": "#/$defs/Ref"}}


@pytest.mark.parametrize(
    ("task", "images", "texts", "fields"),
    [
        ("match", ["a.jpg"], ["x", "y"], {"images": [Path("a.jpg")], "texts": ["x", "y"]}),
        ("classify", ["a.jpg"], ["x"], {"image": Path("a.jpg"), "text": "x"}),
        ("answer", [b"jpg"], ["why?"], {"image": b"jpg", "question": "why?"}),
        ("classify", ["ab" * 32], [], {"image": File(id="ab" * 32)}),
        ("classify", ["https://a.example/b.jpg"], [], {"image": {"url": "https://a.example/b.jpg"}}),
        (
            "match",
            ["HTTP://a.example/", "b.jpg"],
            [],
            {"images": [{"url": "HTTP://a.example/"}, Path("b.jpg")]},
        ),
        ("match", [], [], {}),
    ],
)
def test_pictures_and_texts_go_where_the_schema_wants_them(
    task: str, images: list[Any], texts: list[str], fields: dict[str, Any]
) -> None:
    assert Places.of(TASKS[task]).fill(images, texts) == fields


def test_two_where_one_is_wanted_are_refused_with_a_hint() -> None:
    with pytest.raises(RequestRefused, match="takes one text, got 2; did you mean --set labels"):
        Places.of(TASKS["classify"]).fill([], ["cat", "dog"])


def test_a_task_without_a_place_is_refused_with_its_fields() -> None:
    task = Task.model_validate({"name": "count", "input_schema": {"properties": {"to": {"type": "integer"}}}})
    with pytest.raises(RequestRefused, match="no place for --image; it takes to"):
        Places.of(task).fill([b"x"], [])


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("top_k=3", {"top_k": 3}),
        ("labels=cat, dog", {"labels": ["cat", "dog"]}),
        ('labels=["a,b"]', {"labels": ["a,b"]}),
        ("text=3", {"text": "3"}),
        ("text=a=b", {"text": "a=b"}),
        ("text=null", {"text": None}),
        ("image=cat.jpg", {"image": Path("cat.jpg")}),
        ('image={"data": "aGk="}', {"image": {"data": "aGk="}}),
        ("unknown=true", {"unknown": True}),
        ("unknown=word", {"unknown": "word"}),
    ],
)
def test_a_setting_is_read_by_its_place_in_the_schema(word: str, fields: dict[str, Any]) -> None:
    assert parse_settings(TASKS["classify"], [word]) == fields


def test_several_pictures_can_be_set_by_name() -> None:
    assert parse_settings(TASKS["match"], ["images=a.jpg,b.jpg"]) == {
        "images": [Path("a.jpg"), Path("b.jpg")]
    }


@pytest.mark.parametrize("word", ["top_k", "=3", "top_k=three"])
def test_a_setting_that_cannot_be_read_is_refused(word: str) -> None:
    with pytest.raises(RequestRefused, match="--set"):
        parse_settings(TASKS["classify"], [word])


def test_every_task_of_the_house_has_places_for_its_example() -> None:
    from shared.schemas import catalogue
    from shared.schemas.base import FileRef, walk

    for name, schema in catalogue().items():
        task = Task(name=name, input_schema=schema.input.model_json_schema())
        refs = [
            (path[0], ref.kind)
            for path, ref in walk(schema.input.model_validate(dict(schema.example)))
            if isinstance(ref, FileRef)
        ]
        images = [b"picture" for _, kind in refs if kind == "image"][:1]
        videos = [b"film" for _, kind in refs if kind == "video"]
        filled = Places.of(task).fill(images, [], videos)
        assert set(filled) == {field for field, _ in refs if field in filled}
        assert len(filled) >= bool(images) + bool(videos)


STYLIZE = Task(
    name="stylize",
    input_schema={
        "$defs": {"Ref": _ref("image"), "Style": {"type": "object", "properties": _STYLE}},
        "properties": {"image": {"$ref": "#/$defs/Ref"}, "style": {"$ref": "#/$defs/Style"}},
    },
)


@pytest.mark.parametrize(
    ("words", "style"),
    [
        (["style.name=mosaic"], {"name": "mosaic"}),
        (["style.image=a.jpg"], {"image": Path("a.jpg")}),
        (['style={"name": "mosaic"}'], {"name": "mosaic"}),
    ],
)
def test_a_dot_leads_into_an_object(words: list[str], style: dict[str, Any]) -> None:
    assert parse_settings(STYLIZE, words) == {"style": style}


def test_an_object_given_as_a_word_is_answered_with_its_parts() -> None:
    with pytest.raises(RequestRefused, match=r"--set style\.name=\.\.\. or --set style\.image="):
        parse_settings(STYLIZE, ["style=mosaic"])


def test_a_picture_is_not_put_where_a_film_is_wanted() -> None:
    video = Task(name="video", input_schema={"properties": {"film": _ref("video"), "cover": _ref("image")}})

    assert Places.of(video).fill([b"picture"], [], [b"film"]) == {"film": b"film", "cover": b"picture"}
    with pytest.raises(RequestRefused, match="no place for --video"):
        Places.of(STYLIZE).fill([], [], [b"film"])

"""Results for people: tables, bars, words. Chosen by the result's shape, so that a new task shows as well."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.json import JSON
from rich.table import Table
from rich.text import Text

Result = Mapping[str, Any]

_BAR_CELLS = 24
_WORDS = 80


def result_view(result: Result, images: Sequence[str], texts: Sequence[str]) -> RenderableType:
    """Return a result as people read it.

    Args:
        result: of any task.
        images: names for the pictures of its input, in order, where they are known.
        texts: its texts, likewise.
    """
    if "scores" in result and "best_texts" in result:
        return _scores_view(result, images, texts)
    view = next((view for fields, view in _VIEWS if fields <= result.keys()), None)
    return JSON.from_data(dict(result)) if view is None else view(result)


def result_in_words(result: Result, texts: Sequence[str] = ()) -> str:
    """Return the gist of a result in one line."""
    if "scores" in result and "best_texts" in result:
        return "; ".join(
            f"{_name(texts, best, 'text')} ({result['scores'][row][best]:.2f})"
            for row, best in enumerate(result["best_texts"])
        )
    words = next((words for fields, words in _WORDINGS if fields <= result.keys()), None)
    return shortened(json.dumps(dict(result), ensure_ascii=False), _WORDS) if words is None else words(result)


def shortened(text: str, most: int) -> str:
    """Return a text, cut where it is too long."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _scores_view(result: Result, images: Sequence[str], texts: Sequence[str]) -> Table:
    """One row for each text, one column for each image: texts are long, images have short names."""
    scores: Sequence[Sequence[float]] = result["scores"]
    table = _table("text")
    for column in range(len(scores)):
        table.add_column(_name(images, column, "image"), justify="right")
    for row in range(len(scores[0]) if scores else 0):
        cells = [
            Text(f"{scores[column][row]:.3f}", style="bold green" if best == row else "")
            for column, best in enumerate(result["best_texts"])
        ]
        table.add_row(Text(_name(texts, row, "text")), *cells)
    return table


def _labels_view(result: Result) -> RenderableType:
    bars = _bars((entry["label"], entry["score"]) for entry in result["labels"])
    description = result.get("description")
    return Group(bars, Text(str(description), style="italic")) if description else bars


def _vectors_view(result: Result) -> Table:
    table = _table("vector", "dimensions", "begins")
    for kind in ("image", "text"):
        for number, vector in enumerate(result.get(f"{kind}_vectors", ()), start=1):
            begins = shortened(vector, 24) if isinstance(vector, str) else _numbers(vector[:4])
            table.add_row(f"{kind} {number}", str(result["dim"]), begins)
    return table


def _caption_view(result: Result) -> RenderableType:
    evidence = _bars((entry["label"], entry["score"]) for entry in result["evidence"])
    return Group(Text(result["text"], style="bold"), evidence)


def _answer_view(result: Result) -> RenderableType:
    others = [(entry["answer"], entry["confidence"]) for entry in result["alternatives"]]
    return _bars([(result["answer"], result["confidence"]), *others])


def _objects_view(result: Result) -> RenderableType:
    if not result["objects"]:
        return Text("nothing found")
    table = _table("object", "score", "box")
    for found in result["objects"]:
        table.add_row(Text(found["label"]), f"{found['score']:.2f}", _box(found["box"]))
    return table


def _explanation_view(result: Result) -> RenderableType:
    words = _table("word", "weight")
    for entry in result["tokens"]:
        words.add_row(Text(entry["token"]), f"{entry['weight']:+.3f}")
    places = _table("region", "share")
    for region in result["regions"]:
        places.add_row(_box(region["box"]), f"{region['score']:.0%}")
    return Group(Text(f"the text fits the picture by {result['score']:+.3f}"), words, places)


def _film_view(result: Result) -> RenderableType:
    shots = _table("shot", "from", "to", "labels", "caption")
    for number, shot in enumerate(result["shots"], start=1):
        labels = ", ".join(f"{entry['label']} {entry['score']:.0%}" for entry in shot["labels"][:3])
        caption = Text(shot["caption"] or "")
        shots.add_row(str(number), _clock(shot["start_s"]), _clock(shot["end_s"]), Text(labels), caption)
    if not result["events"]:
        return shots
    events = _table("event", "from", "to", "score")
    for event in result["events"]:
        times = _clock(event["start_s"]), _clock(event["end_s"])
        events.add_row(Text(event["rule"]), *times, f"{event['score']:.2f}")
    return Group(shots, events)


#: What a result must have to be shown so; the first that fits is taken.
_VIEWS: Sequence[tuple[frozenset[str], Callable[[Result], RenderableType]]] = (
    (frozenset({"shots", "events"}), _film_view),
    (frozenset({"objects"}), _objects_view),
    (frozenset({"tokens", "regions"}), _explanation_view),
    (frozenset({"text", "evidence"}), _caption_view),
    (frozenset({"answer", "alternatives"}), _answer_view),
    (frozenset({"labels"}), _labels_view),
    (frozenset({"dim"}), _vectors_view),
)

_WORDINGS: Sequence[tuple[frozenset[str], Callable[[Result], str]]] = (
    (
        frozenset({"shots", "events"}),
        lambda result: (
            f"{_count(len(result['shots']), 'shot')} in {result['duration_s']:.1f} s"
            + "".join(
                f"; {event['rule']} {event['start_s']:.1f} to {event['end_s']:.1f} s"
                for event in result["events"]
            )
        ),
    ),
    (
        frozenset({"objects"}),
        lambda result: (
            ", ".join(f"{one['label']} {one['score']:.2f}" for one in result["objects"][:4])
            or "nothing found"
        ),
    ),
    (
        frozenset({"tokens", "regions"}),
        lambda result: (
            f"{result['score']:+.2f}; "
            + " ".join(f"{entry['token']}({entry['weight']:+.2f})" for entry in result["tokens"])
        ),
    ),
    (frozenset({"text", "evidence"}), lambda result: str(result["text"])),
    (
        frozenset({"answer", "alternatives"}),
        lambda result: f"{result['answer']} ({result['confidence']:.2f})",
    ),
    (
        frozenset({"labels"}),
        lambda result: ", ".join(f"{entry['label']} {entry['score']:.0%}" for entry in result["labels"][:3]),
    ),
    (frozenset({"dim"}), lambda result: f"{_vectors(result)} of {result['dim']}"),
    (
        frozenset({"width", "height"}),
        lambda result: ", ".join(
            [
                f"a picture of {result['width']} x {result['height']}",
                *(f"{name} {result[name]}" for name in ("steps", "seed") if name in result),
            ]
        ),
    ),
)


def _table(*headings: str) -> Table:
    return Table(*headings, box=None, header_style="bold", padding=(0, 2, 0, 0))


def _bars(entries: Any) -> Table:
    table = Table.grid(padding=(0, 2))
    for label, score in entries:
        filled = round(score * _BAR_CELLS)
        bar = Text.assemble(("█" * filled, "green"), ("░" * (_BAR_CELLS - filled), "dim"))
        table.add_row(Text(label), bar, f"{score:.1%}")
    return table


def _vectors(result: Result) -> str:
    counts = {kind: len(result.get(f"{kind}_vectors", ())) for kind in ("image", "text")}
    return " and ".join(_count(count, f"{kind} vector") for kind, count in counts.items() if count)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _numbers(vector: Sequence[float]) -> str:
    return " ".join(f"{value:+.3f}" for value in vector) + " …"


def _box(box: Sequence[float]) -> str:
    return " ".join(f"{edge:.0f}" for edge in box)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def _name(names: Sequence[str], index: int, kind: str) -> str:
    return shortened(names[index], 60) if index < len(names) else f"{kind} {index + 1}"

"""Captions from evidence: what a classifier is sure of, where that is, how many there are, in which colours.

The sentence holds nothing that the evidence does not. What is not known is called `something unknown`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from shared.errors import BadConfiguration
from worker.media.views import View
from worker.models import evidence, palette
from worker.models.capabilities import (
    Caption,
    CaptionRequest,
    ImageEncoder,
    ModelCard,
    Scored,
)
from worker.models.evidence import Sight
from worker.models.kinds import Kinds, Named, plural
from worker.models.maps import Heat
from worker.models.sources import Source
from worker.models.wording import fitting, listed, with_article

#: Below what is sure: worth a `may be`.
_PERHAPS = 0.4
#: A colour is named from this share of the thing on, if those named hold that much of it together; more than
#: half is `mostly`.
_COLOUR, _COLOURS, _MOSTLY = 0.22, 0.4, 0.5
#: What is behind the thing is called by one colour only if it has that much of it.
_BEHIND = 0.6
#: A thing whose box holds that much of the picture fills it.
_FILLS = 0.6
#: Classes that are listed as evidence: the likeliest, from this probability on.
_CLASSES, _LEAST = 5, 0.02
#: A prompt that ends so is gone on from; after another comes a colon.
_LEADS = frozenset(
    (
        "of",
        "is",
        "are",
        "shows",
        "show",
        "showing",
        "shown",
        "see",
        "sees",
        "depicts",
        "depicting",
        "contains",
        "containing",
        ":",
    )
)
_ARTICLES = frozenset(("a", "an"))
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class GroundedCaptioner:
    """A `Captioner` over an image classifier, `Tuned` as far as that is; its tokens are words."""

    def __init__(self, card: ModelCard, encoder: ImageEncoder) -> None:
        self._card = card
        self._encoder = encoder
        self._kinds = Kinds(encoder.vocabulary)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return evidence.VIEW

    @property
    def batch_limits(self) -> Mapping[str, int]:
        return evidence.batch_limits(self._encoder, "caption")

    def warm_up(self) -> None:
        """Nothing is lazy here: the encoder below is warm."""

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        """Return a sentence for each picture; a prompt is kept whole, however few words are wanted."""
        sights = evidence.look(self._encoder, [request.image for request in requests])
        return [self._caption(sight, request) for sight, request in zip(sights, requests, strict=True)]

    def _caption(self, sight: Sight, request: CaptionRequest) -> Caption:
        found = evidence.sure_of(sight, self._kinds)
        facts = self._unknown(sight) if found is None else self._known(sight, found)
        classes = self._classes(sight, found)
        text = _sentence(facts, request.prompt, request.max_tokens, grey=sight.is_grey)
        return Caption(text=text, evidence=sorted([*classes, *facts.evidence], key=lambda one: -one[1]))

    def _known(self, sight: Sight, found: Named) -> Facts:
        """Return what is told of a thing that has a name."""
        heat = evidence.heat_of(sight, self._kinds, found.kind)
        number = evidence.count(sight, self._kinds, found.kind)
        place = _placed(heat)
        shares = [] if sight.is_grey else evidence.colours_of(sight, heat)
        named = _named_colours(shares)
        behind = [] if sight.is_grey else evidence.colours_behind(sight, heat)[:1]
        parts = []
        if named:
            parts.append(_coloured(named))
        if place:
            parts.append(place)
        backed = [one for one in behind if one[1] >= _BEHIND and one[0] not in dict(named)]
        parts += [f"against a mostly {name} background" for name, _ in backed]
        told = [*named, *((f"{name} background", share) for name, share in backed)]
        if place:
            told.append((place, found.probability))
        if number:
            told.append((f"{_number(number)} {_counted(found.kind.name, number)}", found.probability))
        return Facts(_noun(found.kind.name, number), _bare(found.kind.name, number), parts, told)

    def _unknown(self, sight: Sight) -> Facts:
        """Return what is told of a picture whose content has no sure name: perhaps one, and its colours."""
        maybe = self._kinds.most_special(sight.probabilities, _PERHAPS, _PERHAPS)
        noun = f"what may be {with_article(maybe.kind.name)}" if maybe else "something unknown"
        shares = [] if sight.is_grey else palette.colours(sight.pixels)
        named = _named_colours(shares)
        parts = [f"the whole {_coloured(named)}"] if named else []
        return Facts(noun, "something unknown", parts, named)

    def _classes(self, sight: Sight, found: Named | None) -> list[Scored]:
        """Return the likeliest classes, and the kind that the sentence names if it is none of them."""
        order = sorted(range(len(sight.probabilities)), key=lambda place: -sight.probabilities[place])
        scores = {
            self._encoder.vocabulary[place]: min(float(sight.probabilities[place]), 1.0)
            for place in order[:_CLASSES]
            if sight.probabilities[place] >= _LEAST
        }
        if found is not None:
            scores.setdefault(found.kind.name, found.probability)
        return list(scores.items())


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What a sentence is made of."""

    #: `a German shepherd`.
    noun: str
    #: As few words of it as are true.
    bare: str
    #: What is told besides, most telling first: each can be left out with all that follow it.
    parts: Sequence[str]
    evidence: Sequence[Scored]


def load(source: Source) -> GroundedCaptioner:
    """Build the captioner over the loaded classifier."""
    encoder = source.over.get("ImageEncoder")
    if not isinstance(encoder, ImageEncoder):
        raise BadConfiguration(f"{source.card.id} is built over an ImageEncoder")
    return GroundedCaptioner(dataclasses.replace(source.card, device="cpu", runtime="numpy"), encoder)


def _sentence(facts: Facts, prompt: str | None, most_words: int, *, grey: bool) -> str:
    """Return the sentence: the prompt whole, then as much as fits."""
    begun = (prompt or "").split()
    left = most_words - len(begun)
    if not begun:
        opening = f"a {'black-and-white ' if grey else ''}picture of {facts.noun}"
        ways = (opening, f"a picture of {facts.noun}", facts.noun, facts.bare, "something")
        return _longest(ways, facts.parts, max(left, 1))
    noun = facts.noun
    if begun[-1].lower() in _ARTICLES and noun.split()[0] in _ARTICLES:
        begun[-1], noun = _with_article_of(begun[-1], noun)
    elif begun[-1].lower() not in _LEADS and begun[-1][-1] not in ".:;,!?-":
        begun[-1] += ":"
    rest = _longest((noun, facts.bare), facts.parts, left)
    return " ".join([*begun, rest]) if rest else " ".join((prompt or "").split())


def _with_article_of(article: str, noun: str) -> tuple[str, str]:
    """Return the prompt's article as the noun wants it, and the noun without its own."""
    own, _, bare = noun.partition(" ")
    return (own.capitalize() if article[0].isupper() else own), bare


def _longest(ways: Sequence[str], parts: Sequence[str], most_words: int) -> str:
    """Return the first of the ways to say it that fits, with as many parts as fit; the last may be empty."""
    for way in ways:
        if len(way.split()) <= most_words:
            whole = [way, *parts]
            return fitting([*(f"{part}," for part in whole[:-1]), whole[-1]], most_words).rstrip(",")
    return ""


def _noun(name: str, number: int | None) -> str:
    return with_article(name) if number in (None, 1) else f"{_number(number)} {plural(name)}"


def _bare(name: str, number: int | None) -> str:
    return _counted(name, number)


def _counted(name: str, number: int | None) -> str:
    return name if number in (None, 1) else plural(name)


def _number(number: int | None) -> str:
    return str(number) if number is None or number >= len(_NUMBERS) else _NUMBERS[number]


def _placed(heat: Heat) -> str:
    box = evidence.box(heat)
    if box is None:
        return ""
    left, top, right, bottom = box
    if (right - left) * (bottom - top) >= _FILLS:
        return "filling most of the picture"
    place = evidence.place(heat)
    return {"middle": "in the middle", "top": "at the top", "bottom": "at the bottom"}.get(
        str(place), f"{'at' if ' ' in str(place) else 'on'} the {place}"
    )


def _named_colours(shares: Sequence[Scored]) -> list[Scored]:
    """Return the colours worth naming, two at most; none where they hold too little together."""
    named = [one for one in shares[:2] if one[1] >= _COLOUR]
    return named if sum(share for _, share in named) >= _COLOURS else []


def _coloured(named: Sequence[Scored]) -> str:
    """Return how much of a thing has its colours: `mostly red`, `partly red`."""
    amount = "mostly" if sum(share for _, share in named) > _MOSTLY else "partly"
    return f"{amount} {listed([name for name, _ in named])}"

"""Answers from evidence: the same that captions rest on, asked by the words of a question.

A wrong answer is worse than none: what the evidence does not hold is `UNKNOWN`, with what there is behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadConfiguration
from worker.media.views import View
from worker.models import evidence, palette
from worker.models.capabilities import (
    UNKNOWN,
    ImageEncoder,
    ImageFeatures,
    JointEncoder,
    ModelCard,
    Question,
    Scored,
)
from worker.models.evidence import Sight
from worker.models.finite import require_finite
from worker.models.kinds import Kind, Kinds
from worker.models.maps import Heat, heat
from worker.models.questions import Asked, Sort, understood
from worker.models.sources import Source

#: An answer is given from this confidence on.
_SURE = 0.6
#: The hottest cell of a thing that a question takes for granted; below, it is not to be found.
_FOUND = 0.4
#: A thing has a colour if so much of it has, and has it not if no more than so much has.
_HAS_COLOUR, _LACKS_COLOUR = 0.4, 0.03
#: What has no class of its own: the cosine that its best cell must have with the word, how hot a cell must be
#: to count, and what one colour must then have. Of nine such things in photographs of animals (grass, leaf,
#: sky, sea, snow) six are found so, one in a wrong colour: snow in the shade. Chosen with the demo's skies
#: and leaves in view as well.
_WORDED, _HOT, _WORDED_COLOUR = 0.3, 0.7, 0.75
#: Of one thing by the stricter rule, and of several side by side (`evidence.count`).
_ONE, _SEVERAL = 0.9, 0.65
#: How a candidate is put to the joint space, and the temperature of the softmax over the cosines. Measured on
#: 161 photographs with 4 to 22 candidates: right in 127 with these words, in 124 with the bare candidate or
#: "a photo of", in 123 behind the question; at 0.05 the log loss is .53 a photograph, .61 with the bare one.
_STATEMENT = "this is {}"
_TEMPERATURE = 0.05
_ALTERNATIVES = 10


class GroundedAnswerer:
    """An `Answerer` over an image classifier, `Tuned` as far as that is, and a joint space for candidates."""

    def __init__(self, card: ModelCard, encoder: ImageEncoder, joint: JointEncoder) -> None:
        self._card = card
        self._encoder = encoder
        self._joint = joint
        self._kinds = Kinds(encoder.vocabulary)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return evidence.VIEW

    @property
    def batch_limits(self) -> Mapping[str, int]:
        return evidence.batch_limits(self._encoder, "answer")

    def warm_up(self) -> None:
        """Nothing is lazy here: the encoders below are warm."""

    def answer(self, questions: Sequence[Question]) -> list[Sequence[Scored]]:
        """Return each question's answers, surest first; given candidates, their shares sum to 1."""
        sights = evidence.look(self._encoder, [question.image for question in questions])
        return [self._answers(sight, question) for sight, question in zip(sights, questions, strict=True)]

    def _answers(self, sight: Sight, question: Question) -> Sequence[Scored]:
        asked = understood(question.text)
        free = self._free(sight, asked)
        if question.candidates:
            return self._chosen(sight, question.candidates, dict(free))
        free = sorted(free, key=lambda scored: -scored[1])[:_ALTERNATIVES]
        if free and free[0][1] >= _SURE:
            return free
        best = free[0][1] if free else 0.0
        # It stands first, so it cannot be less sure than what stands behind it.
        return [(UNKNOWN, max(1.0 - best, best)), *free]

    def _free(self, sight: Sight, asked: Asked) -> list[Scored]:
        readers: Mapping[Sort, Callable[[Sight, Asked], list[Scored]]] = {
            Sort.WHAT: self._what,
            Sort.PRESENT: self._whether,
            Sort.IS_THIS: self._whether,
            Sort.HAS_COLOUR: self._whether_coloured,
            Sort.COLOUR: self._main_colour,
            Sort.COUNT: self._number,
            Sort.PLACE: self._place,
        }
        reader = readers.get(asked.sort)
        return [] if reader is None else reader(sight, asked)

    def _what(self, sight: Sight, asked: Asked) -> list[Scored]:
        """Return the most special name that surely holds, of the kind asked for; then likely others."""
        within = self._kinds.named(asked.thing) if asked.thing else None
        if asked.thing and within is None:
            return []
        probabilities = sight.probabilities if within is None else _only(within, sight.probabilities)
        found = self._kinds.most_special(
            probabilities, evidence.SURE_CLASS, evidence.SURE_KIND, within=within
        )
        order = np.argsort(-probabilities, kind="stable")[:_ALTERNATIVES]
        others = {self._encoder.vocabulary[place]: float(probabilities[place]) for place in order}
        if found is None:
            return _below(others.items(), _SURE)
        if asked.more and _speaks_of(asked.more, found.kind, self._kinds):
            return []
        others.pop(found.kind.name, None)
        return [(found.kind.name, min(found.probability, 1.0)), *_below(others.items(), found.probability)]

    def _whether(self, sight: Sight, asked: Asked) -> list[Scored]:
        """Return yes or no to a thing's being there; of one described more closely, at most no."""
        kind, closer = self._kind(asked.thing)
        if kind is None:
            return []
        there = evidence.presence(sight, self._kinds, kind)
        if there is None and asked.sort is Sort.IS_THIS:
            there = self._something_else(sight, kind)
        if there is None:
            return []
        if there < evidence.THERE:
            return _yes_or_no(there)
        # Nothing that was not there was ever so probable: surer than its probability.
        return [] if asked.more or closer else _yes_or_no(max(there, _SURE))

    def _something_else(self, sight: Sight, kind: Kind) -> float | None:
        """Return the little that speaks for a kind, where the picture surely shows another."""
        found = evidence.sure_of(sight, self._kinds)
        little = float(self._kinds.mass(kind, sight.probabilities))
        apart = found is not None and not (found.kind.classes & kind.classes)
        return little if apart and kind.complete and little < 1 - _SURE - 0.2 else None

    def _whether_coloured(self, sight: Sight, asked: Asked) -> list[Scored]:
        share = dict(self._colours(sight, asked.thing)).get(asked.colour)
        if share is None:
            return []
        if share >= _HAS_COLOUR:
            return _yes_or_no(max(share, _SURE))
        return _yes_or_no(share) if share <= _LACKS_COLOUR else []

    def _colours(self, sight: Sight, thing: str) -> list[Scored]:
        """Return the colours of what a question speaks of, by their shares; none where it is not found."""
        if sight.is_grey:
            return []
        if not thing:
            return palette.colours(sight.pixels)
        kind, closer = self._kind(thing)
        if kind is None or closer:
            return self._colours_by_words(sight, thing)
        where = self._heat(sight, kind)
        return [] if where is None else evidence.colours_of(sight, where)

    def _colours_by_words(self, sight: Sight, thing: str) -> list[Scored]:
        """Return the colours of what has no class: sky, leaves; where it is, the joint space says."""
        (cells,) = self._joint.project_regions([sight.cells])
        (text,) = self._joint.embed_texts([thing])
        vectors = cells.reshape(*sight.weights.shape, -1)
        if float((vectors @ text).max()) < _WORDED:
            return []
        where = heat(text, vectors)
        shares = evidence.colours_at(sight, np.where(where >= _HOT, where, np.float32(0.0)))
        return shares if shares[0][1] >= _WORDED_COLOUR else []

    def _main_colour(self, sight: Sight, asked: Asked) -> list[Scored]:
        """Return the colours of what a question speaks of, each against the runner-up."""
        shares = self._colours(sight, asked.thing)
        if not shares or shares[0][1] < _HAS_COLOUR:
            return []
        both = shares[0][1] + shares[1][1]
        return [(name, share / both) for name, share in shares if share >= _LACKS_COLOUR]

    def _number(self, sight: Sight, asked: Asked) -> list[Scored]:
        kind, closer = self._kind(asked.thing)
        if kind is None or closer or asked.more:
            return []
        there = evidence.presence(sight, self._kinds, kind)
        if there is None:
            return []
        if there < evidence.THERE:
            return [("0", 1.0 - there)]
        number = evidence.count(sight, self._kinds, kind)
        return [] if number is None else [(str(number), _ONE if number == 1 else _SEVERAL)]

    def _place(self, sight: Sight, asked: Asked) -> list[Scored]:
        kind, closer = self._kind(asked.thing)
        where = None if kind is None or closer else self._heat(sight, kind)
        place = None if where is None else evidence.place(where)
        return [] if where is None or place is None else [(place, max(float(where.max()), _SURE))]

    def _heat(self, sight: Sight, kind: Kind) -> Heat | None:
        """Return where a thing is that a question takes for granted; None where it is not to be found."""
        where = evidence.heat_of(sight, self._kinds, kind)
        return where if where.max() >= _FOUND else None

    def _kind(self, thing: str) -> tuple[Kind | None, str]:
        """Return the kind that a phrase names, and what it says of it besides: of `big dog`, `big`."""
        words = thing.split()
        for first in range(len(words)):
            if (kind := self._kinds.named(" ".join(words[first:]))) is not None:
                return kind, " ".join(words[:first])
        return None, ""

    def _chosen(self, sight: Sight, candidates: Sequence[str], free: Mapping[str, float]) -> Sequence[Scored]:
        """Return all candidates, by the evidence if it knows one of them, else by the joint space."""
        known = np.array([_score(candidate, free) for candidate in candidates], dtype=np.float32)
        shares = known / known.sum() if known.max() >= _SURE else self._fitting(sight, candidates)
        require_finite(shares)
        order = np.argsort(-shares, kind="stable")
        return [(candidates[place], min(float(shares[place]), 1.0)) for place in order]

    def _fitting(self, sight: Sight, candidates: Sequence[str]) -> NDArray[np.float32]:
        """Return each candidate's share in the joint space; what repeats shares alike."""
        features = ImageFeatures(pooled=sight.pooled, probabilities=sight.probabilities)
        (picture,) = self._joint.project_images([features])
        texts = np.stack(self._joint.embed_texts([_STATEMENT.format(one) for one in candidates]))
        powers = np.exp((texts @ picture - (texts @ picture).max()) / _TEMPERATURE)
        shares: NDArray[np.float32] = (powers / powers.sum()).astype(np.float32)
        return shares


def load(source: Source) -> GroundedAnswerer:
    """Build the answerer over the loaded encoders."""
    encoder, joint = source.over.get("ImageEncoder"), source.over.get("JointEncoder")
    if not isinstance(encoder, ImageEncoder) or not isinstance(joint, JointEncoder):
        raise BadConfiguration(f"{source.card.id} is built over an ImageEncoder and a JointEncoder")
    card = dataclasses.replace(source.card, device="cpu", runtime="numpy")
    return GroundedAnswerer(card, encoder, joint)


def _only(kind: Kind, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    kept = np.zeros_like(probabilities)
    places = sorted(kind.classes)
    kept[places] = probabilities[places]
    return kept


def _below(scored: Iterable[Scored], most: float) -> list[Scored]:
    """Return answers that may stand behind one of this confidence, none surer than it."""
    return [(answer, min(score, most)) for answer, score in scored if score > 0.01]


def _speaks_of(more: str, kind: Kind, kinds: Kinds) -> bool:
    """Return whether the words that say where something is name the very thing that was found."""
    named = (kinds.named(word) for word in more.split())
    return any(one is not None and one.classes & kind.classes for one in named)


def _yes_or_no(yes: float) -> list[Scored]:
    both = [("yes", min(yes, 1.0)), ("no", max(1.0 - yes, 0.0))]
    return sorted(both, key=lambda scored: -scored[1])


def _score(candidate: str, free: Mapping[str, float]) -> float:
    word = candidate.strip().strip(".!").lower()
    word = palette.SYNONYMS.get(word, word)
    return next((score for answer, score in free.items() if answer.lower() == word), 0.0)

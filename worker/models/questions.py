"""What an English question asks for, by its words: its sort, and the thing that it speaks of.

Words only, in any case, with or without punctuation. What is not understood for certain is `OTHER`: a wrong
answer is worse than none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from worker.models import palette

#: A question that goes on for longer says more than its first words are understood to.
_MOST_WORDS = 24
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_ASCII = re.compile(r"[a-z0-9'-]+")

_CONTRACTIONS = {
    "what's": "what is",
    "where's": "where is",
    "there's": "there is",
    "how's": "how is",
    "who's": "who is",
    "it's": "it is",
    "that's": "that is",
    "whats": "what is",
    "wheres": "where is",
}
_ARTICLES = frozenset(("a", "an", "the", "any", "some", "this", "that", "these", "those"))
_BE = frozenset(("is", "are", "was", "were"))
_THIS = frozenset(("this", "it", "that", "these", "those", "they"))
#: Words for the picture itself.
_PICTURE = r"(?:picture|photo|photograph|image|scene|shot|pic)"
#: What may follow without changing what is asked.
_TRAILER = re.compile(
    rf"(?:\s+(?:in|on|of|within|here in)\s+(?:the|this|that)\s+{_PICTURE}|\s+here|\s+there|\s+please"
    r"|\s+visible|\s+shown|\s+present|\s+do you see|\s+can you see|\s+to be seen|\s+exactly)+$"
)
_COLOUR = r"(?:colour|color|colours|colors)"
_NOT = frozenset(
    (
        "not",
        "no",
        "without",
        "never",
        "except",
        "besides",
        "other",
        "else",
        "nor",
        "isn't",
        "aren't",
        "don't",
        "doesn't",
    )
)
#: After these, a noun phrase is over.
_STOPPING = """
is are was were am be being do does did can could will would should has have in on at of under over behind
beside near next by with without to from into onto above below between inside outside around through who
which that and or there you we they it i if when while because standing sitting lying eating holding wearing
doing looking running playing
"""
_STOPS = frozenset(_STOPPING.split())


class Sort(Enum):
    """What kind of answer is wanted."""

    WHAT = "what"
    PRESENT = "is there"
    IS_THIS = "is this"
    HAS_COLOUR = "is it of a colour"
    COLOUR = "what colour"
    COUNT = "how many"
    PLACE = "where"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, understood."""

    sort: Sort
    #: Of WHAT: the kind asked for, `animal`; else the thing that is asked about. Without articles, in lower
    #: case; empty: none is named.
    thing: str = ""
    #: Of HAS_COLOUR: one of `palette.NAMES`.
    colour: str = ""
    #: What else it says of the thing, `under the table`: that the thing is there answers it with no "yes".
    more: str = ""


def understood(text: str) -> Asked:
    """Return what a question asks for; whatever is not English of a known form is `OTHER`."""
    words = _words(text)
    if not words or len(words) > _MOST_WORDS or not _NOT.isdisjoint(words):
        return Asked(Sort.OTHER)
    sentence = _TRAILER.sub("", " ".join(words))
    for form, read in _FORMS:
        if (found := form.fullmatch(sentence)) is not None and (asked := read(found)) is not None:
            return asked
    return Asked(Sort.OTHER)


def _words(text: str) -> list[str]:
    """Return the words of a text in lower case, or none where some are not English letters and digits."""
    plain = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    found = _WORD.findall(plain)
    if any(_ASCII.fullmatch(word) is None for word in found):
        return []
    return " ".join(_CONTRACTIONS.get(word, word) for word in found).split()


def _phrase(words: str) -> tuple[str, str]:
    """Return the noun phrase that a text begins with, without its articles, and what follows it."""
    listed = words.split()
    while listed and listed[0] in _ARTICLES:
        listed.pop(0)
    ends = next((place for place, word in enumerate(listed) if word in _STOPS), len(listed))
    return " ".join(listed[:ends]), " ".join(listed[ends:])


def _about(sort: Sort, words: str) -> Asked | None:
    """Return a question about the thing that a text begins with; None where none is named."""
    thing, more = _phrase(words)
    return Asked(sort, thing, more=more) if thing else None


def _colour_of(found: re.Match[str]) -> Asked | None:
    if found["rest"] in _THIS:
        return Asked(Sort.COLOUR)
    asked = _about(Sort.COLOUR, found["rest"])
    return asked if asked is not None and not asked.more else None


def _place_of(found: re.Match[str]) -> Asked | None:
    asked = _about(Sort.PLACE, found["rest"])
    return asked if asked is not None and not asked.more and asked.thing not in _THIS else None


def _count_of(found: re.Match[str]) -> Asked | None:
    thing, more = _phrase(found["rest"])
    plain = re.fullmatch(r"(?:are|is)?(?: there)?|(?:can|do) (?:you|we) (?:see|count|find)", more)
    return Asked(Sort.COUNT, thing, more="" if plain else more) if thing else None


def _named_colour(word: str) -> str:
    word = palette.SYNONYMS.get(word, word)
    return word if word in palette.NAMES else ""


def _is_it(found: re.Match[str]) -> Asked | None:
    """Read `is X ...`: of a colour, or one of a kind."""
    words = found["rest"].split()
    if len(words) < 2:
        return None
    subject, last = " ".join(words[:-1]), words[-1]
    if colour := _named_colour(last):
        thing, more = _phrase(subject)
        if subject in _THIS:
            return Asked(Sort.HAS_COLOUR, colour=colour)
        return Asked(Sort.HAS_COLOUR, thing, colour=colour) if thing and not more else None
    named = re.fullmatch(
        rf"(?:(?:this|that|it|these|those|they)|the {_PICTURE}) "
        rf"(?:(?:a |the |an )?{_PICTURE} (?:of|with) )?(?P<thing>.+)",
        found["rest"],
    )
    return _about(Sort.IS_THIS, named["thing"]) if named else None


def _whether_there(found: re.Match[str]) -> Asked | None:
    return _about(Sort.PRESENT, found["rest"])


def _anything(_found: re.Match[str]) -> Asked:
    return Asked(Sort.WHAT)


def _what_near(found: re.Match[str]) -> Asked:
    kind = found.groupdict().get("kind") or ""
    return Asked(Sort.WHAT, _phrase(kind)[0], more=found["more"])


def _what_kind(found: re.Match[str]) -> Asked | None:
    """Read `what animal is ...`: only of the picture, not of what stands in a relation to something in it."""
    thing, more = _phrase(found["kind"])
    return Asked(Sort.WHAT, thing) if thing and not more else None


_WHICH = r"(?:what|which)"
_IS = r"(?:is|are|was|were)"
_YOU = r"(?:can|could|do) (?:you|we|i)"
_THESE = r"(?:this|that|it|these|those|they)"
_SORTS_OF = r"(?:(?:kind|type|sort|breed|species) of )?"
_NEAR = r"(?P<more>(?:in|on|inside|in front of|behind|beside|under|next to|near|above) .+)"

#: The first form that a question has, and whose reader makes something of it, decides.
_FORMS: list[tuple[re.Pattern[str], Callable[[re.Match[str]], Asked | None]]] = [
    (re.compile(pattern), read)
    for pattern, read in (
        (r"how many (?P<rest>.+)", _count_of),
        (rf"{_WHICH} {_COLOUR} (?:{_IS}|has|have|does) (?P<rest>.+?)(?: have)?", _colour_of),
        (rf"{_WHICH} {_IS} the {_COLOUR} of (?P<rest>.+)", _colour_of),
        (rf"where {_IS} (?P<rest>.+)", _place_of),
        (rf"where {_YOU} (?:see|find) (?P<rest>.+)", _place_of),
        (rf"{_IS} there (?P<rest>.+)", _whether_there),
        (rf"{_YOU} (?:see|find) (?P<rest>.+)", _whether_there),
        (
            rf"does (?:the|this|it)(?: {_PICTURE})? (?:show|contain|have|include|depict) (?P<rest>.+)",
            _whether_there,
        ),
        (rf"{_IS} (?P<rest>.+)", _is_it),
        (rf"{_WHICH} {_IS}(?: {_THESE}| the {_PICTURE}(?: of)?| {_THESE} a {_PICTURE} of)?", _anything),
        (rf"what(?: {_YOU} see)?|what does (?:the|this) {_PICTURE} show", _anything),
        (rf"{_WHICH} {_SORTS_OF}(?P<kind>.+?) (?:{_IS}|{_YOU} see)(?: {_THESE})?", _what_kind),
        (rf"{_WHICH} {_IS} (?:there )?(?:standing |lying |sitting )?{_NEAR}", _what_near),
        (rf"{_WHICH} {_SORTS_OF}(?P<kind>[a-z-]+(?: [a-z-]+)?) {_IS} {_NEAR}", _what_near),
    )
]

"""Small matters of English: articles, and sentences of a length."""

from __future__ import annotations

from collections.abc import Sequence


def with_article(noun: str) -> str:
    """Return a noun with `a` or `an`."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def listed(words: Sequence[str]) -> str:
    """Return words as one says them: `red`, `red and blue`, `red, blue and green`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def fitting(parts: Sequence[str], most_words: int) -> str:
    """Return as many parts of a sentence, from the first on, as have no more words than that."""
    kept: list[str] = []
    for part in parts:
        most_words -= len(part.split())
        if most_words < 0:
            break
        kept.append(part)
    return " ".join(kept)

"""The error tree: one code a leaf, one branch a class, and a drawing that is true."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from shared import errors
from shared.errors import (
    CallerError,
    IconotextError,
    InvalidRequest,
    Overloaded,
    Problem,
    SystemFault,
    TooManyJobs,
    TooManyRequests,
    UrlUnreachable,
    every_error,
)

# Other tests may have made subclasses of their own in this process.
TREE = [kind for kind in every_error() if kind.__module__ == errors.__name__]
LEAVES = [kind for kind in TREE if not any(issubclass(other, kind) for other in TREE if other is not kind)]
CODES = {kind.code for kind in TREE}


def drawn() -> Iterator[tuple[str, int, str | None, bool]]:
    """Yield (class, depth, code, retryable) from the drawing in the module's docstring."""
    for line in (errors.__doc__ or "").splitlines():
        row = re.match(r"    (?P<stem>[| `-]*)(?P<name>[A-Z]\w+)(?: +(?P<code>[a-z_]+)(?P<rest>.*))?$", line)
        if row:
            # A branch has a sentence where a leaf has its code.
            code = row["code"] if row["code"] in CODES else None
            yield row["name"], len(row["stem"]) // 4, code, "retryable" in line


def depth(kind: type[IconotextError]) -> int:
    return kind.__mro__.index(IconotextError)


def test_the_drawing_shows_every_class_at_its_depth() -> None:
    assert {(name, level) for name, level, _, _ in drawn()} == {(kind.__name__, depth(kind)) for kind in TREE}


def test_the_drawing_shows_every_code_and_what_is_retryable() -> None:
    told = {(name, code, retryable) for name, _, code, retryable in drawn() if code}
    held = {(kind.__name__, kind.code, kind.retryable) for kind in TREE}

    assert told <= held
    assert {kind.__name__ for kind in TREE if kind.retryable} == {
        name for name, _, _, again in drawn() if again
    }


def test_leaves_have_codes_of_their_own() -> None:
    assert len({kind.code for kind in LEAVES}) == len(LEAVES)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_code_is_shared_only_with_ones_own_ancestors(kind: type[IconotextError]) -> None:
    same_code = [other for other in TREE if other.code == kind.code]

    assert all(issubclass(kind, other) or issubclass(other, kind) for other in same_code)


@pytest.mark.parametrize(
    "kind", [kind for kind in TREE if kind is not IconotextError], ids=lambda kind: kind.__name__
)
def test_an_error_is_the_callers_or_ours_and_never_both(kind: type[IconotextError]) -> None:
    assert issubclass(kind, CallerError) != issubclass(kind, SystemFault)


@pytest.mark.parametrize(
    "kind", [kind for kind in TREE if issubclass(kind, CallerError)], ids=lambda kind: kind.__name__
)
def test_a_wrong_request_is_not_tried_again_but_one_too_many_is(kind: type[CallerError]) -> None:
    assert kind.retryable == (kind in {TooManyJobs, TooManyRequests, UrlUnreachable})


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_says_its_message(kind: type[IconotextError]) -> None:
    more = {"retry_after_s": 1} if kind in {TooManyJobs, TooManyRequests, Overloaded} else {}

    error = kind("9000x9000 px; the limit is 40 megapixels", **more)

    assert error.message == str(error) == "9000x9000 px; the limit is 40 megapixels"


def test_an_invalid_request_without_a_pointer_names_no_place() -> None:
    assert InvalidRequest("no").problems == ()


def test_a_pointer_alone_makes_one_problem_with_the_errors_code() -> None:
    error = errors.ImageTooLarge("too large", pointer="/input/image")

    assert error.problems == (Problem("/input/image", "too large", "image_too_large"),)


def test_problems_that_were_given_are_kept_as_they_are() -> None:
    faults = [Problem("/input/a", "one"), Problem("/input/b", "two")]

    assert InvalidRequest("two faults", faults, pointer="/input").problems == tuple(faults)

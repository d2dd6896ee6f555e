"""`iconotext submit` of many: one job for every picture of a folder or a pattern."""

from __future__ import annotations

import glob
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from client.batches import Outcome
from client.errors import IconotextError, PartlySubmitted, RequestRefused, ServiceUnreachable
from client.models import Job
from client.pictures import is_url
from client.progress import counting
from client.sdk import Client
from client.show import result_in_words
from client.submissions import Submission

#: Pictures that are read and sent between two moves of the bar.
_GROUP = 100


@dataclass(frozen=True, slots=True)
class Done:
    """A picture and what became of its job."""

    image: str
    outcome: Outcome

    @property
    def is_well(self) -> bool:
        """Tell whether its job is on its way or has succeeded."""
        return isinstance(self.outcome, Job) and (self.outcome.succeeded or not self.outcome.is_terminal)

    def to_json(self) -> dict[str, Any]:
        """Return the picture with its `job`, or with the `error` for which there is none."""
        if isinstance(self.outcome, Job):
            return {"image": self.image, "job": self.outcome.to_json()}
        return {"image": self.image, "error": {"code": self.outcome.code, "message": str(self.outcome)}}


def stands_for_many(word: str) -> bool:
    """Return whether a word names a folder, or is a pattern and no file's name."""
    return not is_url(word) and (Path(word).is_dir() or _is_pattern(word))


def find_pictures(words: Sequence[str]) -> list[str]:
    """Return the pictures that folders and patterns hold, by name, and what else is named as it is.

    Raises:
        RequestRefused: one holds none.
    """
    found: list[str] = []
    for word in words:
        if Path(word).is_dir():
            names = [str(path) for path in sorted(Path(word).iterdir()) if _is_picture(path)]
        elif _is_pattern(word):
            names = sorted(glob.glob(word, recursive=True))  # noqa: PTH207  # absolute patterns as well
        else:
            names = [word]
        if not names:
            raise RequestRefused(f"no picture in {word}", code="usage")
        found += names
    return found


def submit_each(
    client: Client,
    images: Sequence[str],
    submissions: Sequence[Submission],
    *,
    wait: bool,
    timeout: float | None,
    is_quiet: bool = False,
) -> list[Done]:
    """Return what became of each picture's job; with `wait`, once all have ended.

    Raises:
        WaitTimeout: some go on.
        PartlySubmitted: the service went away after it had taken some.
    """
    with counting(is_quiet=is_quiet) as progress:
        bar = progress.add_task("submitting", total=len(images))
        outcomes: list[Outcome] = []
        while len(outcomes) < len(submissions):
            outcomes += _submitted(client, submissions, outcomes)
            progress.update(bar, completed=len(outcomes))
        going = [outcome.id for outcome in outcomes if isinstance(outcome, Job)]
        ended: dict[str, Job] = {}
        if wait:
            progress.update(bar, description="working", completed=len(images) - len(going))
            jobs = client.wait_many(going, timeout, lambda _: progress.advance(bar))
            ended = dict(zip(going, jobs, strict=True))
    return [
        Done(image, ended.get(outcome.id, outcome) if isinstance(outcome, Job) else outcome)
        for image, outcome in zip(images, outcomes, strict=True)
    ]


def _submitted(client: Client, submissions: Sequence[Submission], before: Sequence[Outcome]) -> list[Outcome]:
    """Return what became of the next group after those that were answered before."""
    try:
        return client.submit_many(submissions[len(before) : len(before) + _GROUP])
    except (ServiceUnreachable, RequestRefused) as error:
        if not before:
            raise
        more = error.answered if isinstance(error, PartlySubmitted) else ()
        reason = error.__cause__ if isinstance(error.__cause__, IconotextError) else error
        raise PartlySubmitted([*before, *more], len(submissions), reason) from error


def each_view(done: Sequence[Done], texts: Sequence[str]) -> Table:
    """Return a row for each picture; ids are never cut, they are there to be copied."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("picture", no_wrap=True)
    table.add_column("job", no_wrap=True)
    table.add_column("result")
    for one in done:
        outcome = one.outcome
        if isinstance(outcome, Job):
            error = f": {outcome.error.message}" if outcome.error else ""
            words = result_in_words(outcome, texts) if outcome.succeeded else f"{outcome.status}{error}"
        else:
            words = str(outcome)
        name = outcome.id if isinstance(outcome, Job) else ""
        table.add_row(Path(one.image).name, name, Text(words, style="" if one.is_well else "red"))
    return table


def _is_pattern(word: str) -> bool:
    return glob.has_magic(word) and not is_url(word) and not Path(word).exists()


def _is_picture(path: Path) -> bool:
    return path.is_file() and (mimetypes.guess_type(path.name)[0] or "").startswith("image/")
